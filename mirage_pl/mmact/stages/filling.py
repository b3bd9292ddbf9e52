"""What all stages that fill in slots share: a batch's numbers as ids, and one forward pass. Shapes: as in ``batch``."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Literal

import torch
from torch import Generator, Tensor, nn

from mirage_pl.engine.checkpoints.parts import splits_weights
from mirage_pl.mmact.batch import Batch, Prompts
from mirage_pl.mmact.codes import Codes
from mirage_pl.mmact.model.backbone import Ask, Kept
from mirage_pl.mmact.model.coder import Coder
from mirage_pl.mmact.model.decoding import HIDDEN, Decoder, Filled
from mirage_pl.mmact.model.network import Network
from mirage_pl.mmact.model.vocabulary import Span
from mirage_pl.mmact.stages.policy import PolicyModule


class FillingModule(PolicyModule):
    """A stage whose ``net`` is a :class:`Network`.

    Args:
        compat: as released by mistake: padding is seen, and pairs of real places get 1 more of score.
        prompt_sees: ``all``, as released; ``prompt``: itself alone, so that its keys are computed once a chunk.
        code_folder: where codes of demonstrations' pictures are kept; ``None``: in memory.
        base: of :class:`mirage_pl.engine.training.base.BaseModule`.
    """

    net: Network

    def __init__(
        self, compat: bool, prompt_sees: Literal["all", "prompt"], code_folder: str | None = None, **base: Any
    ) -> None:
        super().__init__(**base)
        if prompt_sees not in ("all", "prompt"):
            raise ValueError(f"prompt_sees={prompt_sees} is unknown; choose all or prompt")
        if compat and prompt_sees != "all":
            raise ValueError("compat=true is for prompt_sees=all, as released")
        self.compat, self.prompt_sees, self.codes = compat, prompt_sees, Codes(code_folder)
        self.net.backbone.spare(self.list_spans())  # several processes refuse weights without a gradient

    @abstractmethod
    def list_spans(self) -> list[Span]:
        """What this stage asks for."""

    def units(self) -> list[nn.Module]:
        """The blocks, and what calls them."""
        return [*self.net.backbone.transformer.blocks, self.net]

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """The transformer, for adapters and learning rates."""
        return {"language": [self.net.backbone]}

    def configure_model(self) -> None:
        """See :class:`BaseModule`.

        Raises:
            ValueError: weights are sharded, and pictures are coded by whole ones.
        """
        if self.net.coder is not None and splits_weights(self.trainer.strategy):
            raise ValueError(
                "sight=images codes pictures with whole weights; take strategy=ddp, or another that keeps them"
            )
        super().configure_model()

    @property
    def coder(self) -> Coder:
        """What codes pictures.

        Raises:
            ValueError: nothing does.
        """
        if self.net.coder is None:
            raise ValueError("this run codes no pictures; train one with sight=images")
        return self.net.coder

    def see(self, batch: Batch) -> Batch:
        """The batch with codes of what its cameras see; as it is, if it has them, or if none are read."""
        if batch.codes_Vn is not None or not batch.action.views_BL.any():
            return batch
        views = int(batch.action.views_BL[0].sum()) // self.coder.sizes.places
        seen = [self.codes.see(sample, self.coder)[:views] for sample in batch.samples]
        return replace(batch, codes_Vn=torch.cat(seen).to(self.device))

    def fill(self, batch: Batch, prompts: Prompts, slots: Tensor, span: Span) -> Tensor:
        """The ids of prompts with the numbers of states, and with what is known of their slots, which count from 0."""
        ids_BL = prompts.ids_BL.clone()
        if len(batch.states_MS):
            ids_BL[prompts.state_BL] = self.net.code_state(batch.states_MS).flatten()
        if batch.codes_Vn is not None:
            ids_BL[prompts.views_BL] = batch.codes_Vn.flatten() + self.net.vocab.images.first
        mask = self.net.vocab["mask"]
        ids_BL[prompts.slots_BL] = torch.where(slots == HIDDEN, mask, slots + span.first).flatten()
        return ids_BL

    def keep(self, prompts: Prompts, stale: bool = False) -> Kept | None:
        """What keeps the keys of prompts over several passes; ``None``: each pass computes them."""
        return Kept(prompts.begin, self.prompt_sees == "all") if stale or self.prompt_sees == "prompt" else None

    def read(self, prompts: Prompts, ids_BL: Tensor, asked: Tensor, span: Span, kept: Kept | None = None) -> Tensor:
        """Logits over a span of the slots that are asked for, row by row, [n, V]."""
        places_BL = prompts.slots_BL.clone()
        places_BL[prompts.slots_BL] = asked.flatten()
        added = self.compat and self.training
        (logits_nV,) = self.net(ids_BL, prompts.keys_BL, [Ask(places_BL, span)], added, kept or self.keep(prompts))
        return logits_nV

    def predict(self, batch: Batch, prompts: Prompts, slots: Tensor, span: Span, kept: Kept | None = None) -> Tensor:
        """Logits of all slots, [B, slots, V], of which some are known."""
        everywhere, ids_BL = torch.ones_like(slots, dtype=torch.bool), self.fill(batch, prompts, slots, span)
        return self.read(prompts, ids_BL, everywhere, span, kept).unflatten(0, slots.shape)

    @torch.no_grad()
    def fill_in(
        self,
        batch: Batch,
        prompts: Prompts,
        span: Span,
        decode: Decoder,
        streams: Sequence[Generator] | None = None,
    ) -> Filled:
        """Fill in all slots of prompts."""
        batch = self.see(batch)
        slots = int(prompts.slots_BL[0].sum())
        hidden = torch.full((len(batch), slots), HIDDEN, device=prompts.ids_BL.device)
        kept = self.keep(prompts, decode.stale)
        return decode(lambda filled: self.predict(batch, prompts, filled, span, kept), hidden, streams)

    def describe_export(self) -> dict[str, Any]:
        """Sizes and layout by the names of released configs, and our own."""
        sizes, vocab = self.net.backbone.sizes, self.net.vocab
        released = {"vocab_size": vocab.size, "action_vocab_size": vocab.bins.size, "model_type": "mmact"}
        return super().describe_export() | released | {"sizes": asdict(sizes), "layout": asdict(vocab)}
