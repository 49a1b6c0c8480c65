"""The content-addressed store: what flows through the pipeline, and what is already done."""
