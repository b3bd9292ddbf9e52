r"""Mirage: "Machine Mental Imagery: Empower Multimodal Reasoning with Latent Visual Tokens" (arXiv 2506.17218).

A model answers in text that contains blocks of latent tokens; each block stands for an image that is never drawn::

    <prompt: image patches, question> assistant\n  text <|latent_start|> L1 … Lk <|latent_end|> text … <|im_end|>

======== ============================== ===================================== ================================
stage    L is                           loss                                  trains
======== ============================== ===================================== ================================
pretrain (no latents)                   CE                                    all: only for the tiny backbone
sft      (no latents)                   CE                                    language model: the baseline
stage1   k compressed features of the   0.1 CE + (1 - cos(hidden state        language model
         helper image, teacher-forced   before L_j, L_j))
stage2   the hidden state before it,    CE; its gradient runs through all L   language model
         fed back
decode   as in stage 2
======== ============================== ===================================== ================================

Not in the paper: ``guided`` keeps a (centered) cosine to the helper image on stage 2's latents, ``curriculum`` moves
there from teacher forcing in one run, ``target`` learns what latents should be and ``imitate`` draws them there, and
``auxiliary`` is a control with the same supervision but without latents.
``recurrence=jacobi`` computes the latents of a block together, in sweeps; k sweeps are exact.
``feedback=matched`` scales what is fed back to the length of the latents that stage 1 teaches.

Read in this order: ``collator`` (samples to rows), ``batch`` (rows to columns); in ``model``: ``backbone`` (stock
transformers), ``compression``, ``encoder``, ``reference`` (stages and decoding, slow, row by row), ``latents`` (the
same, fast, with ``recurrence``, ``feedback`` and ``layers``); then ``losses``, ``module`` (the stages) and
``decoding``. ``evaluation`` and ``probing`` test whether latents matter. ``tower``, ``features`` and ``prefill`` only
save time.
"""
