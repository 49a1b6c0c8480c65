"""ONNX files as bytes that nobody has to trust: looked over before any library opens them."""
