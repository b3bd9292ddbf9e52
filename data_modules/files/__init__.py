"""Rows out of files of any format."""
