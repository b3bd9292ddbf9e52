"""How a training's bytes lie on N GPUs, and what they send each other: ddp, ZeRO 1 to 3, FSDP2, offloading, Infinity.

P parameters, T of them trained, w bytes of a weight, N GPUs, a batches accumulated. Per GPU:

============== ============ =================== ==================== ============================== ==================
layout         weights      gradients           AdamW                buffers                        sent in a step
============== ============ =================== ==================== ============================== ==================
ddp            w P          w T, again in       2 w T                                               2 w T
                            buckets if N > 1
deepspeed 1    w P          w T + 4 T / N       12 T / N             three buckets                  2 w T
deepspeed 2    w P          (w + 4) T / N       12 T / N             three buckets                  (a + 1) w T
deepspeed 3    w P / N      (w + 4) T / N       12 T / N             three buckets, live weights    gathers + a w T
fsdp2          w P / N      w T / N             2 w T / N            two units of weights           gathers + a w T
============== ============ =================== ==================== ============================== ==================

DeepSpeed's AdamW has float32 copies of the weights beside its two moments, and takes its gradients in float32 (all at
once, since Lightning's ``sub_group_size`` is larger than any model). What is sent is (N - 1) / N of these numbers, as
in a ring; a gather brings the decoder's weights once for each time it is called, forward and again backward, in each
of the ``a`` batches. An offloaded optimizer has its states and float32 gradients in main memory; offloaded parameters
leave their live part alone on the GPU. With ZeRO-Infinity both lie on the node's own disk, and main memory has what is
on its way: ``IN_MEMORY`` weights, five buffers of them, four groups of the optimizer's numbers. Buckets and live
parameters are Lightning's defaults. Tests hold these against real AdamW states and DeepSpeed's own estimates.
"""

from collections.abc import Iterator
from dataclasses import dataclass

BUCKET, LIVE = 200_000_000, 1_000_000_000
"""Elements: ``reduce_bucket_size`` and ``allgather_bucket_size``; ``stage3_max_live_parameters``."""

IN_MEMORY, SWAPPED = 1_000_000_000, 100_000_000
"""Elements: ``max_in_cpu``; ``params_buffer_size``, and ``sub_group_size`` of ``deepspeed_zero_infinity``."""


@dataclass(frozen=True)
class Layout:
    """A way to share a training out.

    Attributes:
        name: as in ``conf/strategy``.
        stage: 0 for ddp, 1 to 3 as ZeRO counts.
        deepspeed: its float32 copies and buckets.
        offload_optimizer: states in main memory.
        offload_parameters: weights too.
        disk: what is offloaded lies on a disk instead.
    """

    name: str
    stage: int
    deepspeed: bool = True
    offload_optimizer: bool = False
    offload_parameters: bool = False
    disk: bool = False


LAYOUTS = (
    Layout("ddp", 0, deepspeed=False),
    Layout("deepspeed_zero1", 1),
    Layout("deepspeed_zero2", 2),
    Layout("deepspeed_zero2_offload", 2, offload_optimizer=True),
    Layout("fsdp2", 3, deepspeed=False),
    Layout("deepspeed_zero3", 3),
    Layout("deepspeed_zero3_offload", 3, offload_optimizer=True, offload_parameters=True),
    Layout("deepspeed_zero_infinity", 3, offload_optimizer=True, offload_parameters=True, disk=True),
)


@dataclass(frozen=True)
class Load:
    """What is to be shared out.

    Attributes:
        parameters: of the model.
        trained: those with a gradient.
        unit: of the largest piece that FSDP2 gathers at once.
        gathered: that one batch gathers forward, decoder passes counted.
        weight_bytes: of a weight on the GPU.
        activation_bytes: of all activations of one batch on one GPU.
        accumulate: batches of an optimizer step.
    """

    parameters: int
    trained: int
    unit: int
    gathered: int
    weight_bytes: int
    activation_bytes: int
    accumulate: int = 1


@dataclass(frozen=True)
class Share:
    """Bytes of one GPU; of its process in main memory (``host``) and on disk; ``sent`` by it in an optimizer step."""

    weights: float
    gradients: float
    states: float
    buffers: float
    activations: float
    host: float
    disk: float
    sent: float

    @property
    def gpu(self) -> float:
        """Bytes on the GPU, all together."""
        return self.weights + self.gradients + self.states + self.buffers + self.activations


def share(layout: Layout, load: Load, gpus: int) -> Share:
    """What one of ``gpus`` GPUs holds and sends; the module's table, line by line."""
    w, trained = load.weight_bytes, load.trained
    part = 1 / gpus
    weights = w * load.parameters * (part if layout.stage == 3 else 1.0)
    gradients = w * trained * (part if layout.stage >= 2 else 1.0)
    states, single = 2.0 * w * trained, 0.0
    if layout.deepspeed:
        states, single = 12 * trained * part, 4 * trained * part
    elif layout.stage == 3:
        states *= part
    elif gpus > 1:
        gradients *= 2
    host = 0.0
    if layout.offload_optimizer:
        host, gradients, states, single = states + single, 0.0, 0.0, 0.0
    if layout.offload_parameters:
        host, weights = host + weights, 0.0
    disk = 0.0
    if layout.disk:
        host, disk = swapping(load, part), host
    sent = sent_bytes(layout, load) * (1 - part)
    return Share(weights, gradients + single, states, buffers(layout, load), load.activation_bytes, host, disk, sent)


def swapping(load: Load, part: float) -> float:
    """Bytes of main memory between the disk and one GPU: weights, and four groups of four float32 numbers a weight."""
    mine = load.parameters * part
    return load.weight_bytes * (min(IN_MEMORY, mine) + 5 * min(SWAPPED, mine)) + 4 * 16 * min(SWAPPED, mine)


def buffers(layout: Layout, load: Load) -> float:
    """Bytes of buckets, and of weights that are whole for a moment."""
    w = load.weight_bytes
    if not layout.deepspeed:
        return 2.0 * w * load.unit if layout.stage == 3 else 0.0
    return w * (3 * min(BUCKET, load.trained) + (min(LIVE, load.parameters) if layout.stage == 3 else 0))


def sent_bytes(layout: Layout, load: Load) -> int:
    """What a GPU would send in an optimizer step to very many others."""
    gradients = load.weight_bytes * load.trained
    if layout.stage == 3:
        return load.accumulate * (2 * load.weight_bytes * load.gathered + gradients)
    return gradients * (load.accumulate + 1 if layout.stage == 2 else 2)


@dataclass(frozen=True)
class Cluster:
    """Memory in bytes: of one GPU as far as it may be filled, and of a node.

    Attributes:
        gpu: bytes of one GPU.
        node: bytes of main memory of a node.
        disk: bytes of a node's own disk.
        gpus_per_node: GPUs in a node.
        max_nodes: nodes that are looked at.
    """

    gpu: float
    node: float
    disk: float
    gpus_per_node: int
    max_nodes: int

    def sizes(self) -> Iterator[int]:
        """Numbers of GPUs to look at: 1, 2, 4, … of one node, then whole nodes."""
        yield from (2**k for k in range(self.gpus_per_node.bit_length()) if 2**k < self.gpus_per_node)
        yield from (nodes * self.gpus_per_node for nodes in range(1, self.max_nodes + 1))

    def fits(self, one: Share, gpus: int) -> bool:
        """Whether GPUs and nodes have room."""
        here = min(gpus, self.gpus_per_node)
        return one.gpu <= self.gpu and one.host * here <= self.node and one.disk * here <= self.disk

    def smallest(self, layout: Layout, load: Load) -> int | None:
        """The fewest GPUs that a layout fits on; ``None`` if it fits on none."""
        return next((gpus for gpus in self.sizes() if self.fits(share(layout, load, gpus), gpus)), None)
