"""Video: frames of files, cameras and streams through an engine, timed from frame to result, and shown in a browser."""
