"""Devices: this machine and any behind SSH; what they are, what goes there and back, what runs there."""
