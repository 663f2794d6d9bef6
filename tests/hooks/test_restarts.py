import pytest
import torch
from restarted_net import UPDATES, Net, adam, advance, kinds, restarts
from torch import Tensor, nn
from torch.optim import SGD

from lowrank_bench.hooks.restarts import merge_in_single, rank_of_change
from lowrank_bench.layers.dora import DoRALinear
from lowrank_bench.layers.lora import LoRALinear

# When


def test_restarts_follow_updates_f_2f_3f_and_none_follows_update_0() -> None:
    net, hook = Net(), restarts()
    optimizer, seen = adam(net), []
    for update in range(UPDATES):
        base = net.first.base.weight.clone()
        advance(net, optimizer, hook, range(update, update + 1))
        if not torch.equal(base, net.first.base.weight):
            seen.append(update)
    assert seen == [5, 10, 15]
    assert hook.planned == hook.findings["restarts"] == 3


def test_a_share_of_the_run_is_the_same_cycle() -> None:
    assert restarts(20, cycle_length=0.25).cycle == 5
    assert restarts(20, cycle_length=0.25).planned == 3
    assert restarts(21, cycle_length=5).planned == 4


# What


@kinds()
def test_a_restart_leaves_the_function(kind: type[LoRALinear]) -> None:
    net, hook = Net(kind), restarts()
    optimizer = adam(net)
    advance(net, optimizer, hook, range(5))
    x = torch.randn(32, 12)
    before = net(x)
    hook.cycle = 4  # so that this one, and nothing else, is a restart
    hook.step_end(net, optimizer, 4)
    assert not net.first.B.any()
    torch.testing.assert_close(net(x), before, rtol=1e-5, atol=1e-5)


def test_a_restart_draws_a_anew_within_its_bounds() -> None:
    net, hook = Net(), restarts()
    advance(net, adam(net), hook, range(5))
    before = net.second.A.detach().clone()
    hook.cycle = 4
    hook.step_end(net, adam(net), 4)
    assert net.second.A.all()
    assert not torch.equal(net.second.A, before)
    assert float(net.second.A.detach().abs().max()) <= 0.25  # 1 / sqrt(16)
    assert float(net.second.A.detach().abs().max()) > 0.2


def drawn(*, seed: int = 0, disturb: int = 0, updates: int = 6) -> list[Tensor]:
    net = Net()
    torch.manual_seed(disturb)
    advance(net, SGD([net.head.weight], lr=0.0), restarts(seed=seed), range(updates))
    return [net.first.A.detach().clone(), net.second.A.detach().clone()]


def test_what_is_drawn_follows_from_the_seed_the_update_and_the_layer() -> None:
    once, disturbed, other, later = drawn(), drawn(disturb=9), drawn(seed=1), drawn(updates=11)
    assert all(torch.equal(a, b) for a, b in zip(once, disturbed, strict=True))
    assert not torch.equal(once[0], other[0])
    assert not torch.equal(once[0], later[0])
    assert not torch.equal(once[0][:, :8], once[1][:, :8])


def test_the_rank_of_the_change_grows_by_at_most_r_a_cycle_and_exceeds_r_after_two() -> None:
    net, hook = Net(), restarts()
    optimizer = adam(net)
    first = net.second.base.weight.clone()
    for cycle in range(3):
        advance(net, optimizer, hook, range(5 * cycle, 5 * cycle + 5))
        change = (net.second.effective_weight() - first).detach()
        rank = rank_of_change(net.second.effective_weight(), first, merges=cycle)
        assert rank <= int(torch.linalg.matrix_rank(change, rtol=1e-6))
        assert rank == min(2 * (cycle + 1), 10)


def test_in_half_precision_the_sum_is_taken_in_single_and_cast_once() -> None:
    net = Net().to(torch.bfloat16)
    layer = net.first
    nn.init.normal_(layer.B)
    W, A, B = (p.detach().float() for p in (layer.base.weight, layer.A, layer.B))
    expected = (W + layer.scale * B @ A).to(torch.bfloat16)
    merge_in_single(layer)
    assert torch.equal(layer.base.weight, expected)
    assert not layer.B.any()
    assert layer.base.weight.dtype == layer.A.dtype == torch.bfloat16


# The moments


def test_the_moments_of_the_factors_and_their_steps_are_gone_and_no_others() -> None:
    net, hook = Net(), restarts()
    optimizer = adam(net)
    advance(net, optimizer, hook, range(6))
    for layer in (net.first, net.second):
        for factor in (layer.A, layer.B):
            state = optimizer.state[factor]
            assert not state["exp_avg"].any()
            assert not state["exp_avg_sq"].any()
            assert float(state["step"]) == 0
    for other in (net.head.weight, net.head.bias, net.first.base.bias):
        state = optimizer.state[other]
        assert state["exp_avg"].any()
        assert float(state["step"]) == 6


def test_after_a_restart_the_factors_take_the_steps_of_a_fresh_adam() -> None:
    """Zeroed moments under an old count of steps would make the first one three times as long."""
    longest = {}
    for keep_step in (False, True):
        net = Net()
        hook, optimizer = restarts(2000, cycle_length=1000, keep_step=keep_step), adam(net)
        advance(net, optimizer, hook, range(1))
        for state in optimizer.state.values():
            state["step"].fill_(1000)
        hook.step_end(net, optimizer, 1000)
        advance(net, optimizer, hook, range(1001, 1002))
        longest[keep_step] = float(net.first.B.detach().abs().max()) / 0.02
    assert longest[False] == pytest.approx(1, rel=0.01)
    assert longest[True] == pytest.approx(0.1 / 0.001**0.5 * (1 - 0.999**1001) ** 0.5, rel=0.01)


def test_doras_magnitude_means_the_same_and_keeps_its_moments() -> None:
    net, hook = Net(DoRALinear), restarts()
    optimizer = adam(net)
    advance(net, optimizer, hook, range(5))
    assert isinstance(net.first, DoRALinear)
    before = net.first.magnitude.detach().clone()
    hook.cycle = 4
    hook.step_end(net, optimizer, 4)
    torch.testing.assert_close(net.first.magnitude.detach(), before)
    assert optimizer.state[net.first.magnitude]["exp_avg"].any()
    assert not optimizer.state[net.first.A]["exp_avg"].any()


@pytest.mark.parametrize("how", ["prune_random", "prune_magnitude"])
def test_pruning_zeroes_its_share_by_one_mask_for_both_moments(how: str) -> None:
    net, hook = Net(), restarts(reset=how)
    optimizer = adam(net)
    advance(net, optimizer, hook, range(6))
    state = optimizer.state[net.first.A]
    zeros = (state["exp_avg"] == 0).float().mean()
    assert float(zeros) == pytest.approx(0.8, abs=0.25 if how == "prune_random" else 0.05)
    assert torch.equal(state["exp_avg"] == 0, state["exp_avg_sq"] == 0)
    assert float(state["step"]) == 6


def test_random_masks_agree_whatever_the_global_generator_does() -> None:
    states = []
    for disturbance in (1, 2):
        net, hook = Net(), restarts(reset="prune_random")
        optimizer = adam(net)
        torch.manual_seed(disturbance)
        advance(net, optimizer, hook, range(6))
        states.append(optimizer.state[net.first.A]["exp_avg"])
    assert torch.equal(*states)


# The start


def test_before_the_first_restart_the_factors_learn() -> None:
    net = Net()
    advance(net, adam(net), restarts(), range(5))
    assert float(net.first.delta().detach().norm()) > 0.01


def test_the_references_start_leaves_the_factors_at_zero_until_the_first_restart() -> None:
    net, hook = Net(), restarts(zero_start=True)
    optimizer = adam(net)
    advance(net, optimizer, hook, range(5))
    assert not net.first.A.any()
    assert not net.first.B.any()
    head = net.head.weight.detach().clone()
    advance(net, optimizer, hook, range(5, 8))
    assert net.first.A.all()
    assert net.first.B.any()
    assert not torch.equal(net.head.weight, head)
