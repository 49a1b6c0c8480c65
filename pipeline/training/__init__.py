"""Parts of the training loop in :mod:`jetpress.pipeline.training.fit`: schedules, distillation, ranks, resume."""
