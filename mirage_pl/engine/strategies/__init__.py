"""How devices share the work."""
