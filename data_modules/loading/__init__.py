"""Samples become batches, in an order that resumes."""
