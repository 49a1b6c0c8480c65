"""Training: the one loop (fit.py), and its parts: schedules, distillation, resume, the figures of a split."""
