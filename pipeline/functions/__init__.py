"""What ``import jetpress`` offers a training of one's own: the stages' functions, for modules and files in hand."""
