"""Whether latents are used, useful and readable: more conditions, and what can be told from the latents themselves."""
