"""A trained model as a folder that others load: weights, processor, card, and a file that decodes with latents."""
