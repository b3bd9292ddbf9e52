"""Run folders: what makes a run that run, what it starts from, who trains in it."""
