"""How weights lie on disk, and how they get there and back."""
