"""The network as ONNX: traced, lowered to what a parser takes, run, and held against what it was."""
