"""Simulators that need a Python, or a GPU, of their own: ``server.py`` runs there and speaks with us through a pipe."""
