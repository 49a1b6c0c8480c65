"""Formats of data, a file each: what lies in a folder -> images, and what is marked in them."""
