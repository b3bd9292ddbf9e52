"""What the engine asks of a stock model of transformers, and what fits most of them."""
