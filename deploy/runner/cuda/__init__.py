"""Device memory, streams, events and graphs, through what the board has for them."""
