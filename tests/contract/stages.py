"""Every stage of every family, and how each is made small."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import REPO, SMALL, compose

TOY = REPO / "tests" / "toy" / "conf"
TOYS = "hydra.searchpath=[pkg://tests.toy.conf]"
SMALLER = {
    # In small steps: latents that nobody has trained magnify a difference of rounding by a thousand in a few steps.
    "mirage": [*SMALL, "stage.module.optimizer.lr=2e-6", "+stage.module.optimizer.eps=1e-6"],
    "toy": ["task.rows={train: 24, val: 4, test: 4}"],
    "mmact": ["task.episodes={train: 6, val: 4, test: 4}", "task.limit=12", "model.sizes.layers=2"],
    "deepverse": [
        *("task.episodes={train: 8, val: 4, test: 4}", "task.maps=2", "task.new_maps=1", "task.length=9"),
        *("task.width=16", "task.height=12", "model.width=16", "model.height=12", "task.window={length: 5, hop: 4}"),
        *("model.vae.sizes.channels=[8,8,8]", "model.vae.sizes.groups=4"),
        *("stage.module.optimizer.lr=2e-6", "+stage.module.optimizer.eps=1e-6"),
    ],
    "ivideogpt": ["task=episodes", "task.window={length: 3, hop: 2}", "model.resolution=16", "task.action_dim=2"],
}
"""Family -> what makes its runs small, and keeps rounding from deciding what is learnt."""
ACTING = [
    "task=pushing",
    "task.side=16",
    "task.length=8",
    "task.episodes={train: 8, val: 2, test: 2}",
    "task.window={length: 6, hop: 2, moving: 0}",
    "agent.sizes={channels: [4], kernels: [4], strides: [4], hidden: 8}",
    "playing.seed_actions=7",
    "playing.updates=0.5",
    "playing.demonstrations=1",
    "stage.module.turns.actor.begin=1",
    *(f"stage.module.turns.{turn}.optimizer.lr=2e-6" for turn in ("critic", "actor")),
    *(f"+stage.module.turns.{turn}.optimizer.eps=1e-6" for turn in ("critic", "actor")),
]
"""A small world, and an agent that plays an episode every four steps."""
ANSWERING = [  # rounds of three steps, so that a run is killed and goes on within one
    "rollouts={prompts: 1, group: 4, epochs: 3}",
    "answering.max_new_tokens=12",
    "answering.temperature=3",
    "callbacks.best.monitor=val/loss",
    "trainer.limit_val_batches=1.0",
]
"""Short answers by chance."""
GENTLE = {
    "grpo": [*ANSWERING, "rewards.format.pattern='[A-M]'"],  # answers by chance differ in that
    **dict.fromkeys(("distill", "distill_text"), ANSWERING),
    "deepverse/vae": [
        "stage.module.loss_weights.normals=null"
    ],  # depth, but no normals, is what its clips are coded of
    **dict.fromkeys(
        ("mmact/action", "mmact/text", "mmact/mix"),
        ["optimizer=adamw", "stage.module.optimizer.lr=2e-6", "+stage.module.optimizer.eps=1e-6"],
    ),
    "mmact/regression": ["stage.module.optimizer.lr=2e-6", "+stage.module.optimizer.eps=1e-6"],
    "mmact/vq": [
        *("task.side=32", "model.coder.sizes.side=32", "model.coder.sizes.channels=8"),
        *("stage.module.optimizer.lr=2e-6", "+stage.module.optimizer.eps=1e-6"),
    ],
    **dict.fromkeys(
        ("deepverse/world_model", "deepverse/self_forcing"),
        [
            *("optimizer=adamw", "task.height=16", "model.height=16", "task.length=17", "given=1"),
            *("task.window={length: 9, hop: 4, align: 4}", "model.transformer={layers: 2, heads: 2, head_dim: 16}"),
            "stage.module.loss_weights.normals=null",
        ],
    ),
    "deepverse/inverse_dynamics": [
        *("task.height=16", "model.height=16", "task.length=17", "given=1", "coded=0.5"),
        *("task.window={length: 9, hop: 4, align: 4}", "model.transformer={layers: 2, heads: 2, head_dim: 16}"),
        *("reader.channels=[8, 8]", "reader.hidden=16"),
    ],
    "ivideogpt/world_model": ["optimizer=adamw", "stage.module.optimizer.lr=2e-6", "+stage.module.optimizer.eps=1e-6"],
    "ivideogpt/rlvr": [  # as above
        *("rollouts={prompts: 2, group: 2, epochs: 3}", "callbacks.best.monitor=val/loss"),
        *("stage.module.optimizer.lr=2e-6", "+stage.module.optimizer.eps=1e-6"),
    ],
    "ivideogpt/tokenizer": ["stage.module.optimizer.lr=2e-6", "+stage.module.optimizer.eps=1e-6"],
    "ivideogpt/tokenizer_gan": [
        "model.discriminator.depth=2",
        "stage.module.turns.discriminator.begin=1",
        *(f"stage.module.turns.{turn}.optimizer.lr=2e-6" for turn in ("generator", "discriminator")),
        *(f"+stage.module.turns.{turn}.optimizer.eps=1e-6" for turn in ("generator", "discriminator")),
    ],
    "ivideogpt/drqv2": ACTING,
    "ivideogpt/mbpo": [
        *ACTING,
        "imagining={first_updates: 1, first_batches: 1, every: 1, batch: 2, horizon: 3, clips: 2}",
        "imagining.transformer_every=1",
        "imagining.tokenizer_every=2",
        "stage.freeze=[net.world.tokenizer.quantize, net.world.tokenizer.dynamics_quantize]",
        *(f"stage.module.turns.{turn}.optimizer.lr=2e-6" for turn in ("transformer", "tokenizer")),
        *(f"+stage.module.turns.{turn}.optimizer.eps=1e-6" for turn in ("transformer", "tokenizer")),
    ],
}
"""Stage -> small steps for it, and a second optimizer that begins at once; a small world for those that play."""
APART = {name: ["stage.module.centre=false"] for name in ("auxiliary", "curriculum", "guided", "imitate", "writer")}
APART["writing"] = [f"stage.module.{change}" for change in ("centre=false", "loss_weights={latent: 1, contrast: null}")]
"""Stage -> what makes its rows count each for itself: these compare latents with others of their batch."""
PARTS = {"writer": [["recurrence=queries"]]}
"""Stage -> further runs of it, with another part that learns."""
SAME = {"pretrain": ["model.random_weights=false"]}
"""Stage -> what makes its runs begin with the same weights: ZeRO-3 skips what torch draws as a module is made, before
transformers draws what stays, so that a seed gives it other random weights."""
STEPS, SAVED = 4, 2
"""Of a run, and how many of them are in the checkpoint from which it goes on when it is killed."""
SHORT = [
    "stage.starts=null",
    "trainer.accelerator=cpu",
    f"trainer.max_steps={STEPS}",
    f"trainer.val_check_interval={STEPS}",
    f"callbacks.last.every_n_train_steps={SAVED}",
    "callbacks.scores.num_items=2",
    "callbacks.progress=null",
    "loader.eval_batch_size=4",
]


@dataclass(frozen=True)
class Stage:
    """A stage of a family.

    Attributes:
        name: as ``stage=`` has it.
        search: what finds its configs.
        parts: what it has beyond its defaults.
    """

    name: str
    search: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()

    @property
    def family(self) -> str:
        """The first part of its name; Mirage's have none."""
        return self.name.partition("/")[0] if "/" in self.name else "mirage"

    def overrides(self, data: Path, *more: str) -> list[str]:
        """The command line of a small run."""
        small = [
            *SMALLER.get(self.family, ()),
            *GENTLE.get(self.name, ()),
            *APART.get(self.name, ()),
            *SAME.get(self.name, ()),
            *SHORT,
        ]
        return [*self.search, f"stage={self.name}", *self.parts, *small, f"data={data}", *more]

    def compose(self, data: Path, *more: str) -> Any:
        """The config of a small run."""
        return compose("train", *self.overrides(data, *more))

    def __str__(self) -> str:
        return " ".join((self.name, *self.parts))


def find_stages() -> list[Stage]:
    """All that are there: a new one is tested by its file."""
    places = [(REPO / "conf" / "stage", ()), (TOY / "stage", (TOYS,))]
    names = [
        (file.relative_to(folder).with_suffix(""), search) for folder, search in places for file in yaml_in(folder)
    ]
    stages = [Stage(str(name), search) for name, search in names]
    return stages + [Stage(name, (), tuple(parts)) for name, others in PARTS.items() for parts in others]


def yaml_in(folder: Path) -> list[Path]:
    """The options of a group, by name."""
    return sorted(folder.rglob("*.yaml"))
