"""Simulated worlds with scripted experts, whose episodes are training data."""
