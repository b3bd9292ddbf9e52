"""Launching on clusters."""
