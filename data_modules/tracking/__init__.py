"""Tracking: what a board shows after a list of steps, each of which changes it."""
