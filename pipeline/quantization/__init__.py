"""The parts of INT8 and FP8: where Q/DQ stand, which ranges they have, what each layer loses, which ones stay out."""

THROUGHOUT = "throughout.onnx"
"""Beside ``model.onnx`` where layers were left out: the file with all of them in eight bits."""
NOT_MIXED = "not-mixed"
"""Name of its engine."""
