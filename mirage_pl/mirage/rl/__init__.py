"""Mirage as a policy: answers are sampled, graded, and scored again."""
