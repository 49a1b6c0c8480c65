"""What goes to a device and what comes back: bundles, trials, and the engine held against its file."""
