"""The ONNX graph between the network and the engine."""
