"""Everything that knows about a device: targets, bundles, the runner, and the errors that a user can meet."""

import os

# ONNX Runtime 1.31 otherwise keeps a device id in ~/.cache and sends telemetry from threads of its own.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
