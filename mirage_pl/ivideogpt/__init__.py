r"""iVideoGPT: "Interactive VideoGPTs are Scalable World Models" (arXiv 2405.15223).

The first frames of a clip, its context, become 16 x 16 codes each; every later frame becomes 4 x 4, which say only what
moved, since the networks behind them attend to the context. A transformer over these codes is the world model, and
agents act in it.

============= =================================== ============================================================
stage         learns                              loss
============= =================================== ============================================================
tokenizer     both autoencoders and their books   L1 of pixels, moved ones weighed more; of vectors and codes
tokenizer_gan the same against a discriminator    and hinge losses, from a set step
world_model   a transformer over the codes        cross-entropy of codes; squared error of rewards and actions
drqv2         an agent that plays                 squared error of values; the value of what it would do
mbpo          an agent that imagines, too         the same, and those of the world model
============= =================================== ============================================================

Read in this order: ``batch`` (clips to frames) and ``augment`` (what a step sees of them); in ``model``: ``blocks``,
``coders`` (one frame), ``conditional`` (a frame that attends to the context), ``quantizer``, ``tokenizer`` (all of it),
``layout`` (codes as one sequence), ``transformer``, ``world``, ``rollout``; then ``losses`` and ``stages``; in
``control`` ``agent``, ``replay``, ``schedule``, ``playing`` and ``imagination``, which learn, and ``planners``, which
don't. ``evaluations`` score frames by ``measures`` and episodes by what they bring, ``sessions`` show clips.
"""
