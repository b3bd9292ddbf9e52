"""Lightning callbacks, one concern each. Only YAML names them."""
