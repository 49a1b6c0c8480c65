"""What is decided between stages: rounds of pruning, eight bits, and what became of a run."""
