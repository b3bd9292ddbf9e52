"""One use of a trained run."""
