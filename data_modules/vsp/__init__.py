"""Visual spatial planning: mazes."""
