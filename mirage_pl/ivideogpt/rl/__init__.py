"""A world model as a policy: clips are drawn, compared with what came, and scored again."""
