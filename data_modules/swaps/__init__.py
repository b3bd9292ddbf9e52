"""Tracking: where a cell of a board is after a list of swaps."""
