"""Episodes: frames with the actions between them and the rewards they brought; and clips, windows of them.

An index, one JSON object a line, names a file for each episode: ``{"episode": "episodes/0007.npz", "length": 25}``.
"""
