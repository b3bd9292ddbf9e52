"""Jigsaw: which piece is missing."""
