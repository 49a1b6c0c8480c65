"""Many runs at once: sweeps over recipes and targets, search, and what they came to."""
