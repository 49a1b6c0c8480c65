"""What the numbers mean: statistics of measured latencies, comparison of two engines, the report of a run."""
