"""What the latents do: answers with others in their place, and what they see."""
