"""Rows become samples."""
