r"""Mirage: "Machine Mental Imagery: Empower Multimodal Reasoning with Latent Visual Tokens" (arXiv 2506.17218).

A model answers in text with a few latent tokens in the middle, which stand for an image it does not draw::

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

Read in this order: ``batch`` (samples to columns), ``backbone`` (stock transformers), ``compression``, ``latents``
(the recurrence), ``losses``, ``module`` (the stages), ``generate``.
"""
