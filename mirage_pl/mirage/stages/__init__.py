"""Stages that need more than a batch."""
