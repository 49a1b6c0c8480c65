"""The parts of INT8: where Q/DQ stand, which ranges they have, what each layer loses by them, which ones stay out."""
