r"""iVideoGPT: "Interactive VideoGPTs are Scalable World Models" (arXiv 2405.15223).

The first frames of a clip, its context, become 16 x 16 codes each; every later frame becomes 4 x 4, which say only what
moved, since the networks behind them attend to the context. A transformer over these codes is the world model.

========= =================================== ===============================================
stage     learns                              loss
========= =================================== ===============================================
tokenizer both autoencoders and their books   L1 of pixels + what draws vectors and codes
========= =================================== ===============================================

Read in this order: in ``model``: ``blocks``, ``coders`` (one frame), ``conditional`` (a frame that attends to the
context), ``quantizer``, ``tokenizer`` (all together), ``layout`` (codes as one sequence).
"""
