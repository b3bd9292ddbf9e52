import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from torch.nn import functional as F

from mirage_pl.ivideogpt.control.agent import PAD, Agent, AgentSizes, Encoder, shift
from mirage_pl.ivideogpt.control.playing import Policy, play
from mirage_pl.ivideogpt.control.replay import REAL, Replay
from mirage_pl.ivideogpt.control.transitions import StepCollator
from tests.conftest import compose
from tests.ivideogpt.playing import SIDE, small_agent


def frames(*size):
    return torch.randint(256, (*size, 3, SIDE, SIDE), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def test_the_published_agent_sees_20000_numbers_and_the_tiny_one_has_a_tenth_of_its_weights():
    published, tiny = (
        instantiate(compose("train", "stage=ivideogpt/drqv2", f"agent={name}").agent)
        for name in ("drqv2", "drqv2_tiny")
    )
    assert (published.sizes.seen, published.encoder(torch.zeros(1, 3, 3, 64, 64, dtype=torch.uint8)).shape[1]) == (
        20_000,
        20_000,
    )
    count = [sum(weight.numel() for weight in agent.parameters()) for agent in (published, tiny)]
    assert count[1] < count[0] / 10


def test_values_ahead_are_rewards_and_then_the_smaller_value_of_the_slow_critics_each_step_discounted():
    agent = small_agent(discount=0.5)
    for critic, value in ((agent.target.first, 8.0), (agent.target.second, 16.0), (agent.critic.first, -100.0)):
        torch.nn.init.zeros_(critic[-1].weight)
        torch.nn.init.constant_(critic[-1].bias, value)
    rewards = torch.tensor([[1.0, 2.0, 4.0], [0.0, 0.0, 0.0]])
    ahead = agent.value_ahead(rewards, agent.encoder(frames(2, 3)), None, 0.0)
    assert ahead.tolist() == [1 + 1 + 1 + 1, 1]  # 0.5 ** 3 * 8 comes last


def test_losses_are_those_computed_by_hand():
    agent = small_agent()
    seen, actions = agent.encoder(frames(4, 3)), torch.rand(4, 1) * 2 - 1
    first, second = agent.critic(seen, actions)
    ahead = torch.arange(4.0)
    expected = ((first - ahead) ** 2).mean() + ((second - ahead) ** 2).mean()
    torch.testing.assert_close(agent.critic_loss(seen, actions, ahead), expected)
    best = agent.critic(seen, agent.actor(seen))
    torch.testing.assert_close(agent.actor_loss(seen, None, 0.0), -torch.stack(best).amin(0).mean())


def test_slow_critics_take_over_a_share_and_learn_nothing_themselves():
    agent = small_agent(follow=0.25)
    before = [weight.clone() for weight in agent.target.parameters()]
    for weight in agent.critic.parameters():
        weight.data += 1
    agent.follow()
    for old, new in zip(before, agent.target.parameters(), strict=True):
        torch.testing.assert_close(new, old + 0.25)
        assert not new.requires_grad


def test_noise_in_an_update_is_bounded_and_actions_keep_a_gradient_at_their_bounds():
    agent = small_agent(clip=0.3)
    torch.nn.init.zeros_(agent.actor.policy[-1].weight)
    torch.nn.init.constant_(agent.actor.policy[-1].bias, 0.5)
    seen = agent.encoder(frames(1, 3))
    best = agent.actor(seen).item()
    assert agent.choose(seen, torch.tensor([[9.0]]), 1.0).item() == pytest.approx(best + 0.3)
    assert agent.choose(seen, torch.tensor([[0.1]]), 1.0).item() == pytest.approx(best + 0.1)
    action = agent.choose(seen, torch.tensor([[9.0]]), 1.0) + 0.5
    torch.nn.init.constant_(agent.actor.policy[-1].bias, 5.0)
    action = agent.choose(seen, torch.tensor([[9.0]]), 1.0)
    assert action.item() <= 1
    action.sum().backward()
    assert agent.actor.policy[-1].bias.grad.item() > 0


def test_acting_is_the_same_whatever_else_is_in_the_batch_and_noise_has_no_bound_but_the_actions():
    agent, seen = small_agent(), frames(3, 3)
    noise = torch.tensor([[0.5], [30.0], [-30.0]])
    together = agent.act(seen, noise, 1.0)
    torch.testing.assert_close(
        together, torch.cat([agent.act(seen[row : row + 1], noise[row : row + 1], 1.0) for row in range(3)])
    )
    assert together[1:].tolist() == [[1.0], [-1.0]]
    torch.testing.assert_close(together[0], agent.act(seen)[0] + 0.5)


def test_pixels_become_numbers_in_the_encoder_alone_and_frames_in_floats_are_refused():
    agent = small_agent()
    black, white = (torch.full((1, 3, 3, SIDE, SIDE), value, dtype=torch.uint8) for value in (0, 255))
    taken = []
    agent.encoder.convolutions.register_forward_pre_hook(lambda _, inputs: taken.append(inputs[0]))
    agent.act(black), agent.act(white)
    assert [sorted(set(pixels.flatten().tolist())) for pixels in taken] == [[-0.5], [0.5]]
    with pytest.raises(ValueError, match="uint8"):
        agent.act(white / 255)


def test_a_shift_is_a_cut_out_of_frames_whose_edges_are_repeated():
    clips = frames(5, 3)
    shifts = torch.tensor([[0, 0], [PAD, PAD], [-PAD, 2], [1, -3], [-1, -PAD]])
    shifted = shift(clips, shifts)
    assert torch.equal(shifted[0], clips[0])
    for clip, (down, right), got in zip(clips, shifts.tolist(), shifted, strict=True):
        padded = F.pad(clip.float(), (PAD,) * 4, mode="replicate")
        slow = padded[..., PAD - down : PAD - down + SIDE, PAD - right : PAD - right + SIDE]
        assert torch.equal(got.float(), slow)


def test_sizes_that_leave_nothing_of_a_frame_are_refused():
    with pytest.raises(ValueError, match="leave nothing of 16 x 16"):
        AgentSizes(16, 3, 2, channels=[4, 4], kernels=[8, 8], strides=[4, 4], features=5, hidden=8)
    with pytest.raises(ValueError, match="a number for every convolution"):
        AgentSizes(16, 3, 2, channels=[4, 4], kernels=[8], strides=[4, 4], features=5, hidden=8)
    sizes = AgentSizes(64, 3, 2, channels=[2, 3], kernels=[5, 4], strides=[3, 2], features=5, hidden=8)
    assert Encoder(sizes)(torch.zeros(2, 3, 3, 64, 64, dtype=torch.uint8)).shape == (2, sizes.seen)


class Brightness:
    """An action changes how bright all is; the nearer to gray, the more it brings."""

    side, width, reached = SIDE, 1, False

    def reset(self, draws):
        self.bright = draws.uniform(20, 230)

    def step(self, action):
        self.bright = float(np.clip(self.bright + 20 * action[0], 0, 255))
        return 1 - abs(self.bright - 125) / 125

    def draw(self):
        return np.full((SIDE, SIDE, 3), int(self.bright), np.uint8)


def play_many(choose, count, first):
    """Episodes and their mean return."""
    played = [play(Brightness(), choose, 20, np.random.default_rng(first + number)) for number in range(count)]
    return [episode for episode, _ in played], float(np.mean([facts["return"] for _, facts in played]))


def test_an_agent_learns_from_what_was_done_by_chance_to_do_better():
    torch.manual_seed(0)
    sizes = AgentSizes(SIDE, 3, 1, channels=[8], kernels=[4], strides=[4], features=20, hidden=64)
    agent, draws = Agent(sizes, discount=0.9, follow=0.05, clip=0.3), np.random.default_rng(0)
    replay = Replay("unused", 100, 1)
    replay.writes = False
    by_chance = Policy(agent, lambda *_: torch.from_numpy(draws.uniform(-1, 1, (1, 1))))
    for episode in play_many(by_chance, 20, 0)[0]:
        replay.add(REAL, episode, {})
    critic = torch.optim.Adam([*agent.encoder.parameters(), *agent.critic.parameters()], 1e-3)
    actor = torch.optim.Adam(agent.actor.parameters(), 1e-3)
    for _ in range(120):
        batch = StepCollator(SIDE, 3, 3)([replay.draw_moment(REAL, 3, 3, draws) for _ in range(64)]).agent
        noise = torch.randn(2, 64, 1)
        with torch.no_grad():
            then = agent.encoder(batch.next_BTCHW(3))
        ahead, seen = agent.value_ahead(batch.rewards_BN, then, noise[0], 0.3), agent.encoder(batch.now_BTCHW(3))
        take_step(critic, agent.critic_loss(seen, batch.actions_BA, ahead))
        take_step(actor, agent.actor_loss(seen.detach(), noise[1], 0.3))
        agent.follow()
    learnt, chance = (play_many(policy, 10, 999)[1] for policy in (Policy(agent), by_chance))
    assert learnt > chance + 3


def take_step(optimizer, loss):
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
