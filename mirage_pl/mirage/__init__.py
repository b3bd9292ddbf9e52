r"""Mirage: "Machine Mental Imagery: Empower Multimodal Reasoning with Latent Visual Tokens" (arXiv 2506.17218).

A model answers in text with blocks of latent tokens in it, each of which stands for an image it does not draw::

    <prompt: image patches, question> assistant\n  text <|latent_start|> L1 … Lk <|latent_end|> text … <|im_end|>

======== ============================== ===================================== ================================
stage    L is                           loss                                  trains
======== ============================== ===================================== ================================
pretrain (no latents)                   CE                                    all: gives the tiny backbone eyes
sft      (no latents)                   CE                                    language model: the baseline
stage1   k compressed features of the   0.1 CE + (1 - cos(hidden state        language model
         helper image, teacher-forced   before L_j, L_j))
stage2   the hidden state before it,    CE; its gradient runs through all L   language model
         fed back
decode   as in stage 2
======== ============================== ===================================== ================================

Not the paper's: ``guided`` keeps a (centred) cosine to the helper image on stage 2's latents, ``curriculum`` gets there
from teacher forcing in one run, and ``auxiliary`` is a control that has the same supervision without latents.
``recurrence=jacobi`` finds the latents of a block together, in sweeps; with k sweeps it is the same.
``feedback=matched`` scales what is fed back to the length of what stage 1 has shown.

Read in this order: ``collator`` (samples to rows), ``batch`` (rows to columns); in ``model``: ``backbone`` (stock
transformers), ``compression``, ``reference`` (stages and decoding said slowly, row by row), ``latents`` (the same fast,
with ``recurrence``, ``feedback`` and ``layers``); then ``losses``, ``module`` (the stages) and ``decoding``.
``evaluation`` and ``probing`` ask whether latents matter. ``tower``, ``features`` and ``prefill`` only make it faster.
"""
