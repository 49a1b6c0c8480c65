"""Data: where samples come from, how they are split and varied, and batches of them for each process."""
