"""A trained run over HTTP: OpenAI's chat protocol, answers written together, and a page to try it."""
