"""The reference implementation's world model: losses, gradients, greedy codes, rollouts with a policy."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from mirage_pl.ivideogpt.model.layout import IGNORE, TokenLayout
from mirage_pl.ivideogpt.model.rollout import Rollout, imagine
from mirage_pl.ivideogpt.model.transformer import Transformer, TransformerSizes, released_names, symlog
from mirage_pl.ivideogpt.model.world import WorldModel
from tests.ivideogpt.test_parity import build_tokenizer, close, close_norm, compare, compare_norms, fill, grad_norm

PUBLISHED = {
    "small": TransformerSizes(width=768, feedforward=3072, layers=12, heads=12),
    "medium": TransformerSizes(width=1024, feedforward=4096, layers=24, heads=16),
}


def sizes_of(rebuild):
    config = rebuild.TRANSFORMER
    return TransformerSizes(
        config["hidden_size"],
        config["intermediate_size"],
        config["num_hidden_layers"],
        config["num_attention_heads"],
        config["max_position_embeddings"],
    )


def books(rebuild, case):
    config = rebuild.TOKENIZERS[case["config"]]
    return config["num_vq_embeddings"], config["num_dyn_embeddings"]


def build(rebuild, case, **heads):
    """The case's transformer with the reference's weights, and its sequence."""
    layout = TokenLayout(*books(rebuild, case), 256, 16, case["T0"], compat=True)
    transformer = fill(rebuild, Transformer(sizes_of(rebuild), layout, **heads), case["salt"])
    return transformer, layout.join(*rebuild.codes(case, *books(rebuild, case)))


def cross_entropies(transformer, ids, states):
    """As released: over all tokens and over all labels, and over the codes and the slots of them alone."""
    logits = transformer.llm.lm_head(states.all_BLD)
    targets, logits = transformer.layout.labels(ids)[:, 1:], logits[:, :-1]
    slots = targets == transformer.layout.slot2
    mean = partial(F.cross_entropy, ignore_index=IGNORE)
    return {
        "loss": mean(logits.flatten(0, 1), targets.flatten()),
        "ce_codes_only": mean(logits.flatten(0, 1), targets.masked_fill(slots, IGNORE).flatten()),
        "ce_slot2_only": mean(logits.flatten(0, 1), targets.masked_fill(~slots, IGNORE).flatten()),
    }


def compare_losses(rebuild, transformer, ids, states, wanted, prefix="llm."):
    losses = cross_entropies(transformer, ids, states)
    assert {name: loss.item() for name, loss in losses.items()} == close({name: wanted[name] for name in losses})
    compare(rebuild, transformer.llm.lm_head(states.all_BLD), wanted["logits"])
    if "last_logits" in wanted:
        compare(rebuild, transformer.llm.lm_head(states.all_BLD[:, -1]), wanted["last_logits"])
    transformer.zero_grad()
    losses["loss"].backward(retain_graph=True)
    assert grad_norm(transformer) == close_norm(wanted["grad_norm"])
    compare_norms(transformer, {f"{prefix}{name}": norm for name, norm in wanted["grad_norms"].items()})


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sizes_have_the_published_parameters_by_name(expected, name):
    counts = expected["parameter_counts"]["transformer"][name]
    layout = TokenLayout(8192, 8192, 256, 16, 2)
    count = lambda module: sum(weight.numel() for weight in module.parameters())  # noqa: E731
    with torch.device("meta"):
        plain = Transformer(PUBLISHED[name], layout)
        assert count(plain) == counts["total"]
        assert digest(released_names(plain.state_dict(), 0)) == counts["state_dict_sha"]
        assert count(Transformer(PUBLISHED[name], layout, 4, True, True)) == counts["with_action4_reward_recon_heads"]


def digest(weights):
    import hashlib

    lines = sorted(f"{name} {list(weight.shape)}" for name, weight in weights.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def test_weights_have_the_names_and_shapes_of_the_release(rebuild, expected):
    for name, shapes in expected["state_dicts"].items():
        if name.startswith("transformer"):
            vocabulary, _ = shapes["llm.model.embed_tokens.weight"]
            action_dim = shapes["action_linear.weight"][1]
            layout = TokenLayout(1, vocabulary - 3, 256, 16, 1)
            transformer = Transformer(sizes_of(rebuild), layout, action_dim, True, True)
            assert {key: list(weight.shape) for key, weight in transformer.state_dict().items()} == shapes


def test_losses_gradients_and_logits_are_the_references(rebuild, transformer_case):
    case, wanted = transformer_case, transformer_case["expect"]
    transformer, ids = build(rebuild, case)
    plain = wanted.get("no_action", wanted)
    assert ids.shape[1] == plain["length"]
    compare_losses(rebuild, transformer, ids, transformer(ids), plain)


def test_actions_rewards_and_actions_read_back_are_the_references(rebuild, transformer_case):
    case, wanted = transformer_case, transformer_case["expect"]
    if "A" not in case:
        return
    heads = {"reward": bool(case.get("reward")), "action_recon": "action_recon" in wanted}
    transformer, ids = build(rebuild, case, action_dim=case["A"], **heads)
    actions = rebuild.actions(case)[:, case["T0"] - 1 : -1]
    states = transformer(ids, actions)
    compare_losses(rebuild, transformer, ids, states, wanted["action"], prefix="")
    loss = cross_entropies(transformer, ids, states)["loss"]
    if "reward" in wanted:
        predictions = transformer.predict_rewards(states.after_codes_BFD)
        rewards = symlog(rebuild.rewards(case)[..., 0])
        assert predictions.tolist() == [close(row) for row in wanted["reward"]["predictions"]]
        for name, first in (("legacy", case["T0"]), ("arrival", case["T0"] - 1)):
            targets = rewards[:, first : first + predictions.shape[1]]
            check_head(transformer, loss, F.mse_loss(predictions, targets), 1.0, wanted["reward"][name])
    if "action_recon" in wanted:
        read = transformer.read_actions(states)
        error = F.mse_loss(read, actions[:, :, None].expand_as(read))
        check_head(transformer, loss, error, case["action_recon"], wanted["action_recon"])


def check_head(transformer, loss, error, weight, wanted):
    total = loss + weight * error
    transformer.zero_grad()
    total.backward(retain_graph=True)
    assert (error.item(), total.item()) == (close(wanted["mse"]), close(wanted["total"]))
    # the reference's gradient with one head alone: the other's weights get none
    assert grad_norm(transformer) == close_norm(wanted["grad_norm"])
    compare_norms(transformer, wanted["grad_norms"])


def favour(rebuild, transformer, case):
    """As the cases have it: no token but a dynamics code can win, whether it is masked or not."""
    head = transformer.llm.lm_head.weight
    with torch.no_grad():
        head.copy_(rebuild.favour_dynamics(head.clone(), *books(rebuild, case)))


def build_world(rebuild, case, tokenizer, **heads):
    world = WorldModel(tokenizer, sizes_of(rebuild), compat=True, **heads).eval()
    fill(rebuild, world.transformer, case["salt"])
    favour(rebuild, world.transformer, case)
    return world


def test_greedy_codes_are_the_references_whatever_is_cached(rebuild, generation_case):
    case, wanted = generation_case, generation_case["expect"]
    tokenizer = build_tokenizer(rebuild.TOKENIZERS[case["config"]], case["T0"])
    world = build_world(rebuild, case, tokenizer, action_dim=case.get("A", 0))
    context, _ = rebuild.codes(case, *books(rebuild, case))
    resolution = rebuild.TOKENIZERS[case["config"]]["resolution"]
    tokenizer.encode_context = lambda frames: context  # the case gives codes, not frames
    frames = torch.zeros(case["B"], case["T0"], 3, resolution, resolution)
    count = case["T"] - case["T0"]
    actions = rebuild.actions(case)[:, case["T0"] - 1 : -1] if "A" in case else None
    clips = imagine(world, frames, count, actions)
    assert clips.ids_BFn.tolist() == wanted["codes"]
    assert rebuild.sha(clips.ids_BFn) == wanted["codes_sha"]
    states = world.read_codes(context, clips.ids_BFn, actions).states
    assert world.transformer.predict_codes(states.before_codes_BFnD).argmax(-1).tolist() == wanted["codes"]


def test_a_stock_model_goes_on_as_the_reference_where_nothing_is_forced(rebuild, generation_case):
    case, wanted = generation_case, generation_case["expect"]
    if "unforced_new_ids" not in wanted:
        return
    transformer, ids = build(rebuild, case)
    favour(rebuild, transformer, case)
    prompt, new = ids[:, : transformer.layout.prompt_length], len(wanted["unforced_new_ids"][0])
    options = {"attention_mask": torch.ones_like(prompt), "pad_token_id": 0, "do_sample": False}
    ours = transformer.llm.generate(prompt, max_new_tokens=new, **options)[:, -new:]
    assert ours.tolist() == wanted["unforced_new_ids"]


def test_a_rollout_with_a_policy_in_it_is_the_references(rebuild, rollout_case):
    case, wanted = rollout_case, rollout_case["expect"]
    config = rebuild.TOKENIZERS[case["config"]]
    tokenizer = fill(rebuild, build_tokenizer(config, case["T0"]), case["salt"])
    world = build_world(rebuild, case, tokenizer, action_dim=case["A"], reward=True)
    seen = rebuild.stacked_observation(case, config["resolution"]) / 255
    context = seen.unflatten(1, (3, 3))[:, 3 - case["T0"] :]
    rollout = Rollout(world, context, case["horizon"])
    steps, actions = [], []
    for step in range(case["horizon"]):
        actions.append(rebuild.policy(case, seen, step))
        steps.append(rollout.step(actions[-1]))
        seen = torch.cat((seen[:, 3:], steps[-1].frames_BCHW), 1)
    assert torch.stack([step.ids_Bn for step in steps], 1).tolist() == wanted["codes"]
    near(torch.stack(actions, 1), wanted["actions"])
    near(torch.stack([step.rewards_B for step in steps], 1), wanted["rewards"])
    for step, frame in zip(steps, wanted["frames"], strict=True):
        compare(rebuild, step.frames_BCHW, frame)


def near(ours, wanted):
    torch.testing.assert_close(ours, torch.tensor(wanted), rtol=1e-4, atol=1e-4)
