"""Between the runner and its backends: what an engine is asked for, and what every backend and session offers."""
