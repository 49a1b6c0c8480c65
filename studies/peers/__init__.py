"""Other tools, run beside ours on the same input."""
