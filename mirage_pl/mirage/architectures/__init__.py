"""How the engine runs each architecture of stock transformers: one file each, named by its ``model_type``."""
