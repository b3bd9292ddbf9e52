"""Gated delta layers (arXiv 2412.06464) as pure functions: the state of earlier columns goes in, a new state comes out.

Stock code writes the state into its cache in place, and lets padding pass through it unless all padding is on the left.
Here gradients flow through the state, and padding anywhere leaves it as it was: a call's real columns are moved to the
front of their rows, and those behind them neither decay the state nor write to it.

Shapes: B rows, S columns of a call, D width, K inputs that the convolution looks back, C its channels, H value heads,
k and v widths of a key and a value.
"""

from inspect import unwrap
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers.activations import ACT2FN
from transformers.models.qwen3_5 import modeling_qwen3_5 as stock

from mirage_pl.mirage.stock.cache import State

CHUNK = 64
"""Most columns that the chunked rule takes together."""


class Order(NamedTuple):
    """A call's real columns first, as the mask of a layer that keeps a state.

    Attributes:
        count_B: real columns of each row.
        columns_BS: the columns, real ones first.
        back_BS: place of each column in ``columns_BS``.
        padding_BS: true on the places behind the real columns.
    """

    count_B: Tensor
    columns_BS: Tensor
    back_BS: Tensor
    padding_BS: Tensor


def order_columns(real_BS: Tensor) -> Order:
    """Where each column goes so that real ones come first; their order stays."""
    columns_BS = real_BS.logical_not().byte().argsort(dim=1, stable=True)
    return Order(real_BS.sum(1), columns_BS, columns_BS.argsort(dim=1), ~real_BS.gather(1, columns_BS))


def take(columns_BSD: Tensor, places_BS: Tensor) -> Tensor:
    """Columns at other places of their rows."""
    return columns_BSD.gather(1, places_BS.unsqueeze(2).expand_as(columns_BSD))


class DeltaState:
    """What a gated delta layer keeps: the convolution's last inputs ``[B, C, K]``, and the state ``[B, H, k, v]``.

    Args:
        earlier: what earlier columns left; empty at the beginning.
    """

    def __init__(self, earlier: State) -> None:
        self.earlier: tuple[Tensor, ...] = earlier[0] if earlier else ()
        self.new: tuple[Tensor, ...] = ()

    def keep(self) -> State:
        """Both after the call."""
        return (self.new,)


class GatedDelta(stock.Qwen3_5GatedDeltaNet):
    """A stock layer that also runs with a :class:`DeltaState`; with a cache of transformers it is as it was."""

    def forward(
        self, hidden_states: Tensor, cache_params: Any = None, attention_mask: Any = None, **options: Any
    ) -> Tensor:
        """Mix columns; the parameters are named as the stock layer passes them.

        Args:
            hidden_states: ``[B, S, D]``.
            cache_params: the layer's state, which gets a new one.
            attention_mask: the call's :class:`Order`.
            options: for the stock layer.

        Returns:
            ``[B, S, D]``; on padding it is arbitrary, but finite.
        """
        if not isinstance(cache_params, DeltaState):
            mixed_BSD: Tensor = super().forward(hidden_states, cache_params, attention_mask, **options)
            return mixed_BSD
        hidden_BSD, padding_BS1 = take(hidden_states, attention_mask.columns_BS), attention_mask.padding_BS.unsqueeze(2)
        inputs_BSC, inputs_BCK = self._convolve(hidden_BSD, cache_params, attention_mask.count_B)
        widths = [self.key_dim, self.key_dim, self.value_dim]
        heads = [self.head_k_dim, self.head_k_dim, self.head_v_dim]
        parts = zip(inputs_BSC.split(widths, dim=2), heads, strict=True)
        queries, keys, values = (part.unflatten(2, (-1, width)) for part, width in parts)
        decay_BSH = -self.A_log.float().exp() * functional.softplus(self.in_proj_a(hidden_BSD).float() + self.dt_bias)
        mixed_BSHv, state_BHkv = run_rule(
            queries,
            keys,
            values,
            decay_BSH.masked_fill(padding_BS1, 0),
            self.in_proj_b(hidden_BSD).sigmoid().masked_fill(padding_BS1, 0),
            cache_params.earlier[1] if cache_params.earlier else None,
        )
        cache_params.new = inputs_BCK, state_BHkv
        gates_BSHv = self.in_proj_z(hidden_BSD).unflatten(2, (-1, self.head_v_dim))
        gated_BSHv = self.norm(mixed_BSHv.flatten(0, 2), gates_BSHv.flatten(0, 2)).view_as(mixed_BSHv)
        return take(self.out_proj(gated_BSHv.flatten(2)), attention_mask.back_BS)

    def _convolve(self, hidden_BSD: Tensor, cache: DeltaState, count_B: Tensor) -> tuple[Tensor, Tensor]:
        """Queries, keys and values side by side, ``[B, S, C]``, and the inputs that the next call looks back to."""
        inputs_BCS = self.in_proj_qkv(hidden_BSD).transpose(1, 2)
        (B, C, S), K = inputs_BCS.shape, self.conv_kernel_size - 1
        before_BCK = cache.earlier[0] if cache.earlier else inputs_BCS.new_zeros(B, C, K)
        inputs_BCT = torch.cat([before_BCK, inputs_BCS], dim=2)
        # The convolution adds K zeros on each side; it is called as a module, for strategies that shard its weight.
        convolved_BCS = ACT2FN[self.activation](self.conv1d(inputs_BCT)[:, :, K : K + S])
        last_BK = count_B.unsqueeze(1) + torch.arange(K, device=count_B.device)
        return convolved_BCS.transpose(1, 2), inputs_BCT.gather(2, last_BK.unsqueeze(1).expand(-1, C, -1))


def run_rule(
    queries: Tensor, keys: Tensor, values: Tensor, decay_BSH: Tensor, beta_BSH: Tensor, state_BHkv: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The gated delta rule: column by column for one column, else in chunks; in float32 inside, as stock norms are.

    On a GPU the kernels of flash-linear-attention run, if it is installed; that for one column has no gradient.

    Args:
        queries: ``[B, S, heads, k]``, as are the keys; fewer heads than the values have are shared.
        keys: see ``queries``.
        values: ``[B, S, H, v]``.
        decay_BSH: logarithms of how much of the state is left, at most 0.
        beta_BSH: how much of the difference between a value and what the state has for its key is written.
        state_BHkv: the state before; ``None``: zeros.

    Returns:
        What the queries read, ``[B, S, H, v]``, and the state after.
    """
    S, options = queries.shape[1], dict[str, Any]()
    if (shared := values.shape[2] // keys.shape[2]) > 1:  # transformers 5.17 leaves this to its caller
        queries, keys = queries.repeat_interleave(shared, dim=2), keys.repeat_interleave(shared, dim=2)
    rule = stock.torch_recurrent_gated_delta_rule if S == 1 else stock.torch_chunk_gated_delta_rule
    if not queries.is_cuda or (S == 1 and torch.is_grad_enabled()):
        rule = unwrap(rule)
        chunks = -(-S // CHUNK)
        options["chunk_size"] = -(-S // chunks)
    mixed_BSHv, new_BHkv = rule(
        queries,
        keys,
        values,
        g=decay_BSH,
        beta=beta_BSH,
        initial_state=state_BHkv,
        output_final_state=True,
        use_qk_l2norm_in_kernel=True,
        **options,
    )
    return mixed_BSHv, new_BHkv
