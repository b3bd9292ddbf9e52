"""Mental rotation: which shape is the same."""
