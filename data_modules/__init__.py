"""Data sets: they serve samples, draw them and grade answers. They know no model."""
