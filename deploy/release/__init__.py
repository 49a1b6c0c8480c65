"""Signed releases: who vouches for what a board runs. What the board asks of one is `deploy/runner/release.py`."""
