"""The report of a run: one HTML page that needs nothing else, the same as Markdown, and as JSON."""
