"""Codes of clips that were encoded before. Shapes: B clips of T frames, N and n codes of both kinds of frames."""

from hashlib import sha256

import torch
from torch import Tensor

from mirage_pl.ivideogpt.model.tokenizer import Tokenizer


class CodeMemory:
    """What a tokenizer that doesn't learn has made of clips, by their pixels, so that each is encoded once.

    Each is encoded alone: its codes are the same to the last bit, whatever else a batch has and whatever is remembered.

    Args:
        most: clips to remember, the first ones; each takes 4 bytes a code.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.codes = dict[bytes, tuple[Tensor, Tensor]]()

    @torch.no_grad()
    def encode(self, tokenizer: Tokenizer, frames_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the codes of clips, as :meth:`Tokenizer.encode` does."""
        pixels = frames_BTCHW.contiguous().cpu().view(torch.uint8).numpy()
        keys = [sha256(clip).digest() for clip in pixels]
        rows = [self.recall(key, tokenizer, frames_BTCHW[[row]]) for row, key in enumerate(keys)]
        context_BTN, codes_BFn = (torch.cat(codes) for codes in zip(*rows, strict=True))
        return context_BTN.to(frames_BTCHW.device), codes_BFn.to(frames_BTCHW.device)

    def recall(self, key: bytes, tokenizer: Tokenizer, frames_1TCHW: Tensor) -> tuple[Tensor, Tensor]:
        """The codes of a clip, [1, T, N] and [1, F, n]."""
        if (known := self.codes.get(key)) is not None:
            return known[0].long(), known[1].long()
        context_1TN, codes_1Fn = tokenizer.encode(frames_1TCHW)
        if len(self.codes) < self.most:
            self.codes[key] = context_1TN.int().cpu(), codes_1Fn.int().cpu()
        return context_1TN.cpu(), codes_1Fn.cpu()
