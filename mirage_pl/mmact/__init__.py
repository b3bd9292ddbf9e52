r"""MM-ACT: "Learn from Multimodal Parallel Generation to Act" (arXiv 2512.00975).

One transformer whose places see each other both ways, over one vocabulary of text, image codes and bins of numbers.
What is asked for is a block of masks behind a prompt: a chunk of actions, filled in by one forward pass.

============ ============================================ =============================================
stage        learns                                       loss
============ ============================================ =============================================
action       hidden numbers of a chunk of actions         cross-entropy of bins
text         hidden words of what comes next              LLaDA's: cross-entropy over the chance to hide
mix          any of these, and codes of what is seen next all, weighed
vq           codes of pictures: signs of channels         squares of pixels; signs; entropy of bits
regression   the same numbers at once: the baseline       L1
============ ============================================ =============================================

Read in this order: in ``model``: ``vocabulary``, ``bins``, ``templates`` (prompts), ``backbone``, ``ordinal``,
``masking``, ``decoding``, ``text_decoding``, ``network`` (all of it); then ``batch``, ``losses`` and ``stages``.
``evaluations`` plays episodes in a simulator, under conditions (``policies``); ``report`` has their words, ``sessions``
act once.
"""
