"""What all of the runner stands on: how it speaks and fails, files, clocks, and processes of its own."""
