"""Studies of jetpress itself: each a program that measures one claim."""
