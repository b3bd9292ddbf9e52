"""The stage of an agent that learns by playing. Shapes: B transitions, A numbers of an action, F features."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from data_modules.episodes.recording import read_episode
from data_modules.worlds.world import World
from mirage_pl.engine.training.draws import row_stream
from mirage_pl.engine.training.evaluating import evaluating
from mirage_pl.engine.training.turns import Turn, Turns
from mirage_pl.ivideogpt.control.agent import PAD, Agent, Draws, shift
from mirage_pl.ivideogpt.control.playing import Policy, play
from mirage_pl.ivideogpt.control.replay import REAL, Moment, Replay
from mirage_pl.ivideogpt.control.schedule import Schedule
from mirage_pl.ivideogpt.control.transitions import StepBatch

CARD = """An agent that acts by pixels (DrQ-v2, arXiv 2107.09645).

It sees the newest `stack` frames of `resolution` pixels, oldest first, as channels in [-0.5, 0.5]: `encoder`, then
`actor.trunk`, then `actor.policy`, then tanh.
"""


class Player(nn.Module):
    """An agent alone."""

    def __init__(self, agent: Agent) -> None:
        super().__init__()
        self.agent = agent


class DrQv2(Turns):
    """Learn to act from what was played, and play on with what was learnt.

    Args:
        net: has an ``agent``.
        turns: ``critic``, then ``actor``.
        replay: keeps what was played.
        playing: when it plays.
        world: opens the simulator.
    """

    net: Player

    def __init__(
        self,
        net: Player,
        turns: Mapping[str, Turn],
        replay: Replay,
        playing: Schedule,
        world: Callable[[], World],
    ) -> None:
        super().__init__(net, turns)
        self.replay, self.playing, self.open_world = replay, playing, world
        self.opened: World | None = None
        self.saved: Mapping[str, int] = {}
        self.played: dict[str, float] = {}
        self.seen: tuple[Any, Tensor] | None = None

    @property
    def agent(self) -> Agent:
        """What acts."""
        return self.net.agent

    @property
    def policy(self) -> Policy:
        """What it has learnt, as a function of frames."""
        return Policy(self.agent)

    def units(self) -> list[nn.Module]:
        """The parts that are called."""
        return [self.agent.encoder, self.agent.actor, self.agent.critic, self.agent.target]

    @property
    def since(self) -> int:
        """Steps since the agent was updated first; the deviation of its noise follows them."""
        return self.step

    def export(self, folder: Path, trained: Any, shard_size: str) -> dict[str, Tensor]:
        """Write the agent in one file whatever its size, and read it back."""
        return write_agent(self.agent, folder)

    # What is gathered

    def on_fit_start(self) -> None:
        """Go on with the episodes that the checkpoint had."""
        self.replay.writes = self.trainer.is_global_zero
        self.replay.rewind(self.saved)

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Save how many episodes there are; they are on disk."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["replay"] = dict(self.replay.counts)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Read how many there were."""
        self.saved = checkpoint["replay"]

    def gather(self, step: int) -> None:
        """Play what is due before a step."""
        self.play_until(self.playing.episodes(step))

    def play_until(self, episodes: int) -> None:
        """Take the demonstrations, then play until there are so many episodes besides."""
        if not self.replay.counts[REAL]:
            self.take_demonstrations()
        with evaluating(self.net):
            while (number := self.replay.counts[REAL] - self.playing.demonstrations) < episodes:
                episode, facts = self.play(number)
                self.replay.add(REAL, episode, facts)
                self.played = {
                    "return": facts["return"],
                    "success": float(facts["reached"]),
                    "actions": float((number + 1) * self.playing.actions),
                }

    def play(self, number: int) -> Any:
        """Play an episode: by chance if it is one of the first ones."""
        by_chance = number < self.playing.seed_episodes

        def choose(frames_1TCHW: Tensor, action: int) -> Tensor:
            size = 1, self.agent.sizes.action_dim
            if by_chance:
                stream = row_stream(self.seed, f"random episode {number}", action // self.playing.held)
                return 2 * torch.rand(size, generator=stream) - 1
            stream = row_stream(self.seed, f"episode {number}", action)
            noise_1A = torch.randn(size, generator=stream).to(frames_1TCHW.device)
            deviation = self.playing.deviation_of(number * self.playing.actions + action)
            return self.agent.act(frames_1TCHW, noise_1A, deviation)

        draws = np.random.default_rng([self.seed, number])
        episode, facts = play(self.simulator, Policy(self.agent, choose), self.playing.actions, draws)
        return episode, {"group": "random" if by_chance else "agent", **facts}

    @property
    def simulator(self) -> World:
        """The simulator, opened when it is first needed.

        Raises:
            ValueError: its actions are of another width than the agent's.
        """
        if self.opened is None:
            self.opened = self.open_world()
            if self.opened.width != self.agent.sizes.action_dim:
                raise ValueError(
                    f"task.action_dim={self.agent.sizes.action_dim}, but an action of this task has {self.opened.width}"
                    " numbers; set it to that"
                )
        return self.opened

    def take_demonstrations(self) -> None:
        """Take episodes of the task's training file.

        Raises:
            ValueError: it has fewer.
        """
        if not self.playing.demonstrations:
            return
        rows = self.trainer.datamodule.datasets["train"]  # type: ignore[attr-defined]
        entries = {clip.entry.where: clip.entry for clip in (rows[index] for index in range(len(rows)))}
        if len(entries) < self.playing.demonstrations:
            raise ValueError(
                f"playing.demonstrations={self.playing.demonstrations}, but task.train_file has {len(entries)} episodes"
            )
        for entry in list(entries.values())[: self.playing.demonstrations]:
            self.replay.add(REAL, read_episode(entry.file, rows.form, entry.at), {"group": "demonstration"})

    def pick(self, step: int, part: int, size: int) -> Sequence[Moment]:
        """Draw the samples of a step."""
        draws = np.random.default_rng([self.seed, step, part])
        return [self.draw_moment(REAL, draws) for _ in range(size)]

    def draw_moment(self, kind: str, draws: np.random.Generator) -> Moment:
        """Draw something to learn from."""
        collate = self.trainer.datamodule.collate  # type: ignore[attr-defined]
        return self.replay.draw_moment(kind, collate.stack, collate.ahead, draws)

    # What is learnt

    def terms(self, batch: StepBatch) -> dict[str, int]:
        """Transitions of the agent."""
        return dict.fromkeys(("critic", "actor"), len(batch.where))

    def draw(self, batch: StepBatch) -> Draws | None:
        """What this step draws for each transition; nothing where nothing is learnt."""
        if not self.training or batch.agent is None:
            return None
        width, device = self.agent.sizes.action_dim, batch.agent.actions_BA.device
        shifts, numbers = [], []
        for where in batch.where:
            stream = row_stream(self.seed, where, self.step)
            shifts.append(torch.randint(-PAD, PAD + 1, (2, 2), generator=stream))
            numbers.append(torch.randn(2, width, generator=stream))
        shifts_B22, numbers_B2A = torch.stack(shifts).to(device), torch.stack(numbers).to(device)
        return Draws(shifts_B22, numbers_B2A[:, 0], numbers_B2A[:, 1])

    def losses_in(self, turn: str, batch: StepBatch) -> dict[str, Tensor]:
        """``critic``: squared errors of values. ``actor``: the value of what it would do, negative."""
        assert batch.agent is not None
        draws, deviation = self.draw(batch), self.playing.deviation_at(self.since)
        if turn == "actor":
            seen_BF = self.see_before(batch, draws)
            return {"actor": self.agent.actor_loss(seen_BF, draws and draws.noise_BA, deviation)}
        with torch.no_grad():
            next_BF = self.see(batch.agent.next_BTCHW(self.stack), draws and draws.shifts_B22[:, 1])
        ahead_B = self.agent.value_ahead(batch.agent.rewards_BN, next_BF, draws and draws.target_BA, deviation)
        seen_BF = self.see(batch.agent.now_BTCHW(self.stack), draws and draws.shifts_B22[:, 0])
        self.seen = (batch, seen_BF.detach()) if self.training else None
        return {"critic": self.agent.critic_loss(seen_BF, batch.agent.actions_BA, ahead_B)}

    @property
    def stack(self) -> int:
        """Frames of an observation."""
        return self.agent.sizes.stack

    def see(self, frames_BTCHW: Tensor, shifts_B2: Tensor | None) -> Tensor:
        """What the encoder makes of observations, shifted."""
        seen_BF: Tensor = self.agent.encoder(frames_BTCHW if shifts_B2 is None else shift(frames_BTCHW, shifts_B2))
        return seen_BF

    def see_before(self, batch: StepBatch, draws: Draws | None) -> Tensor:
        """What the encoder made of observations before the step of this batch, as published; no gradient reaches it."""
        if self.seen and self.seen[0] is batch:
            return self.seen[1]
        assert batch.agent is not None
        with torch.no_grad():
            return self.see(batch.agent.now_BTCHW(self.stack), draws and draws.shifts_B22[:, 0])

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """Update critic and actor, then let the slow critics follow."""
        loss = super().training_step(batch, batch_idx)
        self.seen = None
        self.observe(self.played)
        if (batch_idx + 1) % self.accumulate == 0 and "critic" in self.begun():
            self.agent.follow()
        return loss


def write_agent(agent: Agent, folder: Path) -> dict[str, Tensor]:
    """Write an agent's sizes and weights, and read the weights back, by their names in a stage."""
    folder.mkdir(exist_ok=True)
    (folder / "README.md").write_text(CARD)
    sizes = {name: list(value) if isinstance(value, Sequence) else value for name, value in vars(agent.sizes).items()}
    (folder / "config.json").write_text(json.dumps(sizes, indent=2))
    weights = {name: weight.contiguous() for name, weight in agent.state_dict().items()}
    save_file(weights, folder / "model.safetensors")
    return {f"net.agent.{name}": weight for name, weight in load_file(folder / "model.safetensors").items()}
