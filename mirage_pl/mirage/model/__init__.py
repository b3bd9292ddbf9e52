"""The network: backbone, vision tower, latents, recurrence."""
