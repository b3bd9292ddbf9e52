"""Answers, token by token, with latents."""
