"""Learning from rewards: advantages, losses, rollouts."""
