"""From a network's raw outputs to what they mean."""
