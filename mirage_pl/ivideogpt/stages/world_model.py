"""The stage of the world model. Shapes: B clips, F frames after the context, n codes of each, A numbers an action."""

import json
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from mirage_pl.engine.training.base import BaseModule
from mirage_pl.engine.training.remembered import Remembered
from mirage_pl.ivideogpt.batch import Batch
from mirage_pl.ivideogpt.model.layout import IGNORE
from mirage_pl.ivideogpt.model.released import write_folder
from mirage_pl.ivideogpt.model.tokenizer import Reconstruction, Tokenizer
from mirage_pl.ivideogpt.model.transformer import HEADS, released_names, symlog
from mirage_pl.ivideogpt.model.world import Predicted, WorldModel

CARD = """A world model of clips (iVideoGPT, arXiv 2405.15223).

`tokenizer/` and `transformer/` have the names of the released models. The transformer is a LLaMA of transformers:
without actions `transformer/` loads with `LlamaForCausalLM.from_pretrained`; with actions its weights stand below
`llm.`, beside `action_linear` (and `reward_linear`, `action_recon_linear`). `places`, where there is one, is added to
the embeddings: a row for each place of a context frame and its slot, then of a later frame's slot and its codes.
"""


class WorldLosses(BaseModule):
    """The losses of a world model, whatever else a stage has.

    ``codes`` is the cross-entropy of a code in nats, ``reward`` the squared error in symlog, ``action_recon`` the
    squared error of actions that are read back; 0 without the head. As released (``model.compat``), slots are learnt
    like codes, among all tokens, and a frame's reward is that of the next step.
    """

    @property
    @abstractmethod
    def world(self) -> WorldModel:
        """What learns."""

    def world_terms(self, batch: Batch) -> dict[str, int]:
        """Codes, and frames after the context."""
        layout = self.world.transformer.layout
        frames = len(batch) * (batch.frames_BTCHW.shape[1] - layout.context_length)
        slots = frames - len(batch) if layout.compat else 0
        rewarded = frames - len(batch) if layout.compat else frames
        return {
            "codes": frames * layout.dynamics_tokens + slots,
            "reward": max(1, rewarded),
            "action_recon": frames,
        }

    def world_losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch of clips."""
        frames_BTCHW = batch.frames_BTCHW.to(self.device, self.world.tokenizer.dtype) / 255
        actions_BFA = self.take_actions(batch)
        losses: dict[str, Tensor] = self.world(self.lose, frames_BTCHW, actions_BFA, batch)
        return losses

    def lose(self, frames_BTCHW: Tensor, actions_BFA: Tensor | None, batch: Batch) -> dict[str, Tensor]:
        """The losses of clips in [0, 1]."""
        predicted, none = self.read(frames_BTCHW, actions_BFA), frames_BTCHW.new_zeros(())
        return {
            "codes": self.measure_codes(predicted),
            "reward": self.measure_rewards(predicted, batch) if self.world.has_reward else none,
            "action_recon": none
            if self.world.transformer.action_recon_linear is None
            else self.measure_actions(predicted, actions_BFA),
        }

    def read(self, frames_BTCHW: Tensor, actions_BFA: Tensor | None) -> Predicted:
        """Clips as the transformer reads them."""
        return self.world.read(frames_BTCHW, actions_BFA)

    def take_actions(self, batch: Batch) -> Tensor | None:
        """What leads to each frame after the context, [B, F, A]; ``None`` for a model without actions.

        Raises:
            ValueError: the clips have none, or others than the model takes.
        """
        if not self.world.action_dim:
            return None
        if batch.actions_BSA is None:
            raise ValueError(
                f"{batch.samples[0].where}: no actions, but action_dim={self.world.action_dim}; name their array in "
                "task.form.keys.actions, or set action_dim=0 for a model without"
            )
        return batch.actions_BSA[:, self.world.context_length - 1 :].to(self.device)

    def measure_codes(self, predicted: Predicted) -> Tensor:
        """Cross-entropy of a code among the legal ones; as released, of a token among all."""
        transformer = self.world.transformer
        if transformer.layout.compat:
            labels_BL = transformer.layout.labels(predicted.ids_BL)[:, 1:]
            logits = transformer.llm.lm_head(predicted.states.all_BLD[:, :-1])
            return F.cross_entropy(logits.flatten(0, 1).float(), labels_BL.flatten(), ignore_index=IGNORE)
        logits_BFnK = transformer.predict_codes(predicted.states.before_codes_BFnD).float()
        nats_BFn = F.cross_entropy(logits_BFnK.movedim(-1, 1), predicted.codes_BFn, reduction="none")
        self.observe({"first_frame": nats_BFn[:, 0].mean().detach(), "last_frame": nats_BFn[:, -1].mean().detach()})
        return nats_BFn.mean()

    def measure_rewards(self, predicted: Predicted, batch: Batch) -> Tensor:
        """Squared error of rewards in symlog.

        Raises:
            ValueError: the clips have none.
        """
        if batch.rewards_BS is None:
            raise ValueError(
                f"{batch.samples[0].where}: no rewards, but reward=true; name their array in task.form.keys.rewards, "
                "or set reward=false"
            )
        layout = self.world.transformer.layout
        predictions_BF = self.world.transformer.predict_rewards(predicted.states.after_codes_BFD).float()
        rewards_BF = symlog(batch.rewards_BS.to(self.device)[:, layout.context_length - 1 :])
        if layout.compat:  # the clip's last frame has no next step
            predictions_BF, rewards_BF = predictions_BF[:, :-1], rewards_BF[:, 1:]
        return F.mse_loss(predictions_BF, rewards_BF) if rewards_BF.numel() else predictions_BF.sum() * 0

    def measure_actions(self, predicted: Predicted, actions_BFA: Tensor | None) -> Tensor:
        """Squared error of the action that led to a frame, read from each of the frame's states."""
        read_BFmA = self.world.transformer.read_actions(predicted.states).float()
        assert actions_BFA is not None
        return F.mse_loss(read_BFmA, actions_BFA[:, :, None].expand_as(read_BFmA))


class LearnWorld(WorldLosses):
    """Learn to predict the codes of frames, and rewards.

    Args:
        remembered: clips whose codes are kept.
        base: of :class:`mirage_pl.engine.training.base.BaseModule`; ``net`` is the world model.
    """

    net: WorldModel

    def __init__(self, remembered: Annotated[int, Ge(0)] = 0, **base: Any) -> None:
        super().__init__(**base)
        self.memory = Remembered(remembered)

    def read(self, frames_BTCHW: Tensor, actions_BFA: Tensor | None) -> Predicted:
        """Clips as the transformer reads them, each encoded once, unless all ranks must call the tokenizer together."""
        if self.split or not self.memory.most:
            return super().read(frames_BTCHW, actions_BFA)
        context_BTN, codes_BFn = self.memory(self.encode, frames_BTCHW)
        return self.world.read_codes(context_BTN.long(), codes_BFn.long(), actions_BFA)

    def encode(self, frames_BTCHW: Tensor) -> tuple[Tensor, ...]:
        """Codes of both kinds of frames, as small as they may be."""
        return tuple(codes.int() for codes in self.tokenizer.encode(frames_BTCHW))

    @property
    def world(self) -> WorldModel:
        """What learns."""
        return self.net

    @property
    def tokenizer(self) -> Tokenizer:
        """What frames become codes by."""
        return self.net.tokenizer

    def reconstruct(self, frames_BTCHW: Tensor) -> Reconstruction:
        """Clips through their codes and back."""
        clip: Reconstruction = self.net(self.tokenizer, frames_BTCHW)
        return clip

    def parts(self) -> dict[str, Sequence[nn.Module]]:
        """The LLaMA, and what stands beside it."""
        transformer = self.net.transformer
        heads = [getattr(transformer, name) for name in HEADS]
        return {"transformer": [transformer.llm], "heads": [head for head in heads if head is not None]}

    def terms(self, batch: Batch) -> dict[str, int]:
        """Codes, and frames after the context."""
        return self.world_terms(batch)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The losses of a batch of clips."""
        return self.world_losses(batch)

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write a folder as the release has it, and read the weights back."""
        (folder / "README.md").write_text(CARD)
        return write_world(self.world, folder, "net")


def write_world(world: WorldModel, folder: Path, prefix: str) -> dict[str, Tensor]:
    """Write both networks and their configs, and read the weights back, by their names below ``prefix``."""
    facts = {"action_dim": world.action_dim, "context_length": world.context_length}
    (folder / "config.json").write_text(json.dumps({"model_type": "ivideogpt", **facts}, indent=2))
    for name in ("tokenizer", "transformer"):
        (folder / name).mkdir()
    tokenizer = write_folder(world.tokenizer, folder / "tokenizer")
    file = folder / "transformer" / "model.safetensors"
    ours = {name: weight.contiguous() for name, weight in world.transformer.state_dict().items()}
    save_file(released_names(ours, world.action_dim), file, {"format": "pt"})
    (folder / "transformer" / "config.json").write_text(json.dumps(world.describe(), indent=2))
    start = f"{prefix}.transformer." + ("" if world.action_dim else "llm.")
    weights = {f"{start}{name}": weight for name, weight in load_file(file).items()}
    return weights | {f"{prefix}.tokenizer.{name}": weight for name, weight in tokenizer.items()}
