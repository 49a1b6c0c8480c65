"""The stages, a file each: one function ``(config, artifact..., draft) -> artifact`` of the file's name.

None imports another. A stage checks its precondition in its first lines and its promise in its last.
"""
