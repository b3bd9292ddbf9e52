r"""DeepVerse: "4D Autoregressive Video Generation as a World Model" (arXiv 2506.01103).

A state is what is seen, how far it is and where the camera is: codes of a picture, codes of its disparity, and a map of
rays, one below the other as channels.

=========== ======================================== ===============================================================
stage       learns                                   loss
=========== ======================================== ===============================================================
vae         codes of clips, colours and depth        absolute errors of colours and disparity; information of codes
world_model the next unit of a walk, by what is done squared errors of the noise's direction, of each part of a state
inverse_…   what was done between two frames         squared errors of actions
=========== ======================================== ===============================================================

Read in this order: ``actions`` (what is done), ``batch`` (clips to frames and depth); in ``model``: ``cameras``,
``rays``, ``codec`` (what a state's channels mean), ``causal``, ``vae_coders``, ``straight``, ``vae``; then ``pictures``
(what the VAE sees) and ``stages.vae``. The world model: ``units`` (clips to what was done and seen), in ``model``
``prompts``, ``positions``, ``mmdit_blocks``, ``mmdit``, ``flow``, ``sampler`` (how a unit is drawn), ``world``; then
``stages.encoding``, ``stages.world_model``. What is said: ``said``; what is done: ``reading``,
``stages.inverse_dynamics``, ``evaluations.acting``. A walk: ``memory``, ``handover``, ``rollout``, ``controller``.
``evaluations`` score clips, ``sessions`` show them.
"""
