"""The toy family's configs."""
