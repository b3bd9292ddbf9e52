"""Probes of the latents: answers with other latents in their place, and what latents look like and attend to."""
