"""Everything that knows about a device: targets, bundles, the runner, and the errors that a user can meet."""
