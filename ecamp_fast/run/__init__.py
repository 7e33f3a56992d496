"""A training run: engine, schedule, checkpoints, metrics."""
