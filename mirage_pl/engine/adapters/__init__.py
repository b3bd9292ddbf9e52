"""Training a few weights beside a model's own, which stay as they are."""
