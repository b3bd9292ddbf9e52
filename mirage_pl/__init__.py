"""Models that imagine: a file is a verb, ``engine`` what verbs share, every other folder a family."""
