"""A run's steps: losses, optimizers, schedules, randomness."""
