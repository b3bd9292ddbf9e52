r"""iVideoGPT: "Interactive VideoGPTs are Scalable World Models" (arXiv 2405.15223).

The first frames of a clip, its context, become 16 x 16 codes each; every later frame becomes 4 x 4, which say only what
moved, since the networks behind them attend to the context. A transformer over these codes will be the world model.

============= =================================== ============================================================
stage         learns                              loss
============= =================================== ============================================================
tokenizer     both autoencoders and their books   L1 of pixels, moved ones weighed more; of vectors and codes
tokenizer_gan the same against a discriminator    and hinge losses, from a set step
============= =================================== ============================================================

Read in this order: ``batch`` (clips to frames) and ``augment`` (what a step sees of them); in ``model``: ``blocks``,
``coders`` (one frame), ``conditional`` (a frame that attends to the context), ``quantizer``, ``tokenizer`` (all of it),
``layout`` (codes as one sequence); then ``losses`` and ``stages``. ``evaluations`` score frames by ``measures``,
``report`` has their words, ``sessions`` show a clip.
"""
