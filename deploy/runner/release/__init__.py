"""Releases on this board: slots, trials, health, and the ways back."""
