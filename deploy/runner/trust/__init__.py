"""Who vouches for a release: signatures, and the file of those whom this board trusts."""
