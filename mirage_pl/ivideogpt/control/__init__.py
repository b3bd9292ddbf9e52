"""Acting: agents that learn from pixels, the episodes that they learn from, and what they imagine."""
