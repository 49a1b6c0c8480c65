"""What turns a trained network into a verified ONNX graph, asks a device for an engine, and tells how that went."""

import jetpress.deploy as _deploy  # noqa: F401 - before anything imports onnxruntime: it switches its telemetry off
