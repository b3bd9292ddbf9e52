"""Train vision-language models that think in latent images. Every file here is engine, every folder a model family."""
