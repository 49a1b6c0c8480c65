"""Eight readers of what a stranger, a device or a killed process wrote, each fed with what nobody would write."""
