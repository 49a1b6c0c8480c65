"""The board: which one it is, what it says of power, heat, clocks and memory, and its clocks while it is measured."""
