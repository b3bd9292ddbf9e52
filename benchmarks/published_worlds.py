"""How the published code calls the networks of a world model, over the weights of ours: the other side of ``worlds``.

It is rebuilt from the order of its calls (thuml/iVideoGPT at 2ae0381), and never slower than it: what it keeps of a
prefix's logits is the last token's alone, and its perceptual network, whose weights no package has, costs nothing.

Shapes: B clips, T context frames, F frames after them, N and n codes of each, A numbers of an action, L tokens.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional as F

from mirage_pl.ivideogpt.model.conditional import HEADS, Attention
from mirage_pl.ivideogpt.model.layout import IGNORE
from mirage_pl.ivideogpt.model.tokenizer import Reconstruction, Scene, Tokenizer
from mirage_pl.ivideogpt.model.transformer import Transformer, symexp
from mirage_pl.ivideogpt.model.world import WorldModel


@torch.no_grad()
def roll_out_anew(
    world: WorldModel, context_BTN: Tensor, actions_BFA: Tensor, scene: Scene | None
) -> tuple[Tensor, Tensor]:
    """Imagine clips with a policy in the loop: for each frame the whole prefix goes through ``generate``.

    One token more than a frame has is asked for, so that the last code's state, from which the reward is read, exists.

    Args:
        world: the model.
        context_BTN: codes of the context.
        actions_BFA: what leads to each frame.
        scene: what frames are decoded with; ``None``: they aren't.

    Returns:
        The likeliest legal codes, [B, F, n], where the published code draws among all tokens; and rewards, [B, F].
    """
    transformer = world.transformer
    layout, embed = transformer.layout, transformer.llm.model.embed_tokens
    slot_B1 = torch.full_like(context_BTN[:, 0, :1], layout.slot2)
    embeds_BLD = embed(torch.cat((layout.prompt(context_BTN), slot_B1), 1))
    only_legal, frames, rewards = mask_logits(transformer), [], []
    for action_BA in actions_BFA.unbind(1):
        embeds_BLD[:, -1] += transformer.embed_actions(action_BA)
        written = transformer.llm.generate(
            inputs_embeds=embeds_BLD,
            attention_mask=torch.ones(embeds_BLD.shape[:2], dtype=torch.long, device=embeds_BLD.device),
            max_new_tokens=layout.dynamics_tokens + 1,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
            return_dict_in_generate=True,
            output_hidden_states=True,
            logits_processor=[only_legal],
        )
        tokens_Bn = written.sequences[:, :-1]
        rewards.append(symexp(transformer.predict_rewards(written.hidden_states[-1][-1][:, -1])))
        embeds_BLD = torch.cat((embeds_BLD, embed(torch.cat((tokens_Bn, slot_B1), 1))), 1)
        frames.append(tokens_Bn - layout.context_codes)
        if scene is not None:
            world.tokenizer.decode_frames(frames[-1][:, None], scene).clamp(0, 1)
    return torch.stack(frames, 1), torch.stack(rewards, 1)


def mask_logits(transformer: Transformer) -> Callable[[Tensor, Tensor], Tensor]:
    """What leaves the dynamics codes alone, so that both sides write the same."""
    added_V = torch.full((transformer.layout.vocabulary,), -torch.inf)
    added_V[transformer.legal] = 0
    return lambda _, logits_BV: logits_BV + added_V.to(logits_BV)


@contextmanager
def attention_with_weights() -> Iterator[None]:
    """Attention to the context as published: torch's own, which averages its weights over heads, for nobody."""

    def attend(attention: Attention, queries_BQC: Tensor, keys_BKC: Tensor) -> Tensor:
        keys_KBC = keys_BKC.transpose(0, 1)
        weights = attention.in_proj_weight, attention.in_proj_bias, None, None, False
        attended_QBC, _ = F.multi_head_attention_forward(
            *(queries_BQC.transpose(0, 1), keys_KBC, keys_KBC, queries_BQC.shape[2], HEADS, *weights),
            *(attention.dropout, attention.out_proj.weight, attention.out_proj.bias),
            training=attention.training,
            need_weights=True,
        )
        return attended_QBC.transpose(0, 1)

    ours, Attention.forward = Attention.forward, attend  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        Attention.forward = ours  # type: ignore[method-assign]


def spread(features: list[Tensor], clips: int, frames: int) -> list[Tensor]:
    """Features of the context, once for each frame after it: keys and values are computed as often."""
    return [each.unflatten(0, (clips, -1)).repeat_interleave(frames, 0).flatten(0, 1) for each in features]


def embed_anew(tokenizer: Tokenizer, frames_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
    """What becomes the codes of the context, [B T, N, C], and of the frames after it, [B F, n, C]."""
    context_BTCHW, rest_BFCHW = tokenizer.divide(frames_BTCHW)
    clips, count = rest_BFCHW.shape[:2]
    latents_MNC, features = tokenizer.embed_context(context_BTCHW)
    newest_MCHW = context_BTCHW[:, -1].repeat_interleave(count, 0)
    singly_M1CHW = rest_BFCHW.flatten(0, 1)[:, None]
    return latents_MNC, tokenizer.embed_dynamics(singly_M1CHW, spread(features, clips, count), newest_MCHW)


def encode_anew(tokenizer: Tokenizer, frames_BTCHW: Tensor) -> tuple[Tensor, Tensor]:
    """The codes of clips, [B, T, N] and [B, F, n]."""
    latents_MNC, latents_MnC = embed_anew(tokenizer, frames_BTCHW)
    codes = tokenizer.quantize(latents_MNC).ids_MN, tokenizer.dynamics_quantize(latents_MnC).ids_MN
    return codes[0].unflatten(0, (len(frames_BTCHW), -1)), codes[1].unflatten(0, (len(frames_BTCHW), -1))


def reconstruct_anew(tokenizer: Tokenizer, frames_BTCHW: Tensor) -> Reconstruction:
    """Clips through their codes and back."""
    latents_MNC, latents_MnC = embed_anew(tokenizer, frames_BTCHW)
    context, dynamics = tokenizer.quantize(latents_MNC), tokenizer.dynamics_quantize(latents_MnC)
    context_BTCHW, rest_BFCHW = tokenizer.divide(frames_BTCHW)
    clips, count = rest_BFCHW.shape[:2]
    scene = tokenizer.paint_context(context.vectors_MNC, context_BTCHW)
    each = Scene(
        scene.frames_BTCHW, spread(scene.features, clips, count), scene.newest_BCHW.repeat_interleave(count, 0)
    )
    painted_BFCHW = tokenizer.paint_frames(dynamics.vectors_MNC, each).view_as(rest_BFCHW)
    return Reconstruction(scene.frames_BTCHW, painted_BFCHW, context, dynamics)


def world_loss(world: WorldModel, frames_BTCHW: Tensor, actions_BFA: Tensor) -> Tensor:
    """Cross-entropy of codes and slots among all tokens, whose logits are computed for the context, too."""
    with torch.no_grad():
        ids_BL = world.transformer.layout.join(*encode_anew(world.tokenizer, frames_BTCHW))
    labels_BL = ids_BL.clone()
    labels_BL[:, : world.transformer.layout.prompt_length] = IGNORE
    logits_BLV = world.transformer.llm.lm_head(world.transformer(ids_BL, actions_BFA).all_BLD).float()
    return F.cross_entropy(logits_BLV[:, :-1].flatten(0, 1), labels_BL[:, 1:].flatten(), ignore_index=IGNORE)
