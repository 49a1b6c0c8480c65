"""Signed releases: who vouches for what a board runs. A board asks `deploy/runner/trust/release.py` of one."""
