r"""DeepVerse: "4D Autoregressive Video Generation as a World Model" (arXiv 2506.01103).

A state is what is seen, how far it is and where the camera is: codes of a picture, codes of its disparity, and a map of
rays, one below the other as channels.

Read in this order: ``actions`` (what is done); in ``model``: ``cameras``, ``rays``, ``codec`` (what a state's channels
mean).
"""
