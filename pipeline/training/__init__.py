"""Parts of the training loop in :mod:`pipeline.train`: schedules, distillation, ranks, resume."""
