"""TensorRT, any version: engines built and run, its DLA, its plugins, and what its log tells."""
