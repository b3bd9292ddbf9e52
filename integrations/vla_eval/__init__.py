"""vla-eval (0.8): policies of ours, served to its benchmarks."""
