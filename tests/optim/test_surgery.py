import pytest
import torch
from bitsandbytes.optim.adamw import AdamW8bit
from torch import nn
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer

from lowrank_bench.errors import ConfigError
from lowrank_bench.optim import surgery


def stepped(kind: type[Optimizer] = AdamW, steps: int = 5, **options: float) -> Optimizer:
    """Two parameters of 40 x 50, with `steps` updates behind them."""
    torch.manual_seed(0)
    pair = [nn.Parameter(torch.randn(40, 50)) for _ in range(2)]
    optimizer = kind(pair, lr=0.1, **options)  # type: ignore[call-arg]
    for _ in range(steps):
        step(optimizer)
    return optimizer


def step(optimizer: Optimizer) -> None:
    for parameter in both(optimizer):
        parameter.grad = torch.randn_like(parameter)
    optimizer.step()


def both(optimizer: Optimizer) -> list[nn.Parameter]:
    return optimizer.param_groups[0]["params"]


def moments_of(optimizer: Optimizer, parameter: nn.Parameter) -> list[torch.Tensor]:
    return [moment.clone() for _, moment in surgery.moments(optimizer, parameter)]


def test_after_a_reset_adam_goes_on_as_if_it_had_just_begun() -> None:
    used = stepped()
    first, other = both(used)
    kept = moments_of(used, other)
    surgery.reset(used, [first])
    assert all(torch.equal(a, b) for a, b in zip(moments_of(used, other), kept, strict=True))
    fresh_parameter = nn.Parameter(first.detach().clone())
    fresh = AdamW([fresh_parameter], lr=0.1)
    for _ in range(3):
        step(used)
        fresh_parameter.grad = first.grad
        fresh.step()
        assert torch.equal(first, fresh_parameter)


@pytest.mark.parametrize(("betas", "factor"), [((0.9, 0.999), 3.16), ((0.9, 0.95), 0.45)])
def test_without_the_step_count_the_first_update_is_too_long(
    betas: tuple[float, float], factor: float
) -> None:
    parameter = nn.Parameter(torch.zeros(4))
    optimizer = Adam([parameter], lr=0.1, betas=betas)
    parameter.grad = torch.ones(4)
    optimizer.step()
    optimizer.state[parameter]["step"].fill_(20000.0)  # so that no correction is left
    for keep_step, length in ((True, factor), (False, 1.0)):
        surgery.reset(optimizer, [parameter], keep_step=keep_step)
        before = parameter.detach().clone()
        optimizer.step()
        assert float((before - parameter.detach()).abs().max() / 0.1) == pytest.approx(
            length, rel=0.01
        )


def test_a_momentum_buffer_is_reset_too() -> None:
    optimizer = stepped(SGD, momentum=0.9)
    surgery.reset(optimizer, both(optimizer))
    assert surgery.zero_fraction(optimizer, both(optimizer)) == 1


def test_a_parameter_that_was_never_updated_has_nothing_to_reset() -> None:
    optimizer = stepped(steps=0)
    surgery.reset(optimizer, both(optimizer))
    assert surgery.zero_fraction(optimizer, both(optimizer)) == 1
    step(optimizer)


def prune(optimizer: Optimizer, ratio: float, *, independent: bool = False, seed: int = 0) -> None:
    named = dict(zip("ab", both(optimizer), strict=True))
    surgery.prune_random(
        optimizer, named, ratio, lambda name: seed + ord(name), independent=independent
    )


def test_random_pruning_zeroes_its_share_with_one_mask_for_both_moments() -> None:
    optimizer = stepped()
    prune(optimizer, 0.8)
    assert surgery.zero_fraction(optimizer, both(optimizer)) == pytest.approx(0.8, abs=0.03)
    masks = []
    for parameter in both(optimizer):
        m, v = moments_of(optimizer, parameter)
        assert torch.equal(m == 0, v == 0)
        assert float(optimizer.state[parameter]["step"]) == 5
        masks.append(m == 0)
    assert not torch.equal(*masks)


def test_independent_masks_leave_first_moments_over_nothing() -> None:
    optimizer = stepped()
    prune(optimizer, 0.5, independent=True)
    m, v = moments_of(optimizer, both(optimizer)[0])
    assert ((m != 0) & (v == 0)).any()


def test_random_masks_follow_from_their_seed_alone() -> None:
    one, again, other = stepped(), stepped(), stepped()
    torch.manual_seed(7)
    state = torch.get_rng_state()
    prune(one, 0.5)
    torch.rand(3)
    prune(again, 0.5)
    prune(other, 0.5, seed=9)
    torch.manual_seed(7)
    assert torch.equal(torch.get_rng_state(), state)
    m1, m2, m3 = (moments_of(each, both(each)[0])[0] for each in (one, again, other))
    assert torch.equal(m1, m2)
    assert not torch.equal(m1, m3)


@pytest.mark.parametrize("ratio", [0.25, 0.8, 0.999, 1.0])
def test_magnitude_pruning_is_that_of_the_quantile(ratio: float) -> None:
    shared, apart = stepped(), stepped()
    m, v = moments_of(shared, both(shared)[0])
    kept_m, kept_v = (x.abs() > torch.quantile(x.abs(), ratio) for x in (m, v))
    surgery.prune_magnitude(shared, both(shared), ratio)
    surgery.prune_magnitude(apart, both(apart), ratio, independent=True)
    by_first = moments_of(shared, both(shared)[0])
    by_own = moments_of(apart, both(apart)[0])
    assert torch.equal(by_first[0], m * kept_m)
    assert torch.equal(by_first[1], v * kept_m)
    assert torch.equal(by_own[1], v * kept_v)
    assert surgery.zero_fraction(shared, both(shared)) == pytest.approx(ratio, abs=1e-3)


def test_quantised_moments_are_refused_by_name() -> None:
    optimizer = stepped()
    optimizer.state[both(optimizer)[0]]["state1"] = torch.zeros(40, 50, dtype=torch.uint8)
    with pytest.raises(
        ConfigError, match=r"method\.optimizer: the state 'state1' \(torch\.uint8\)"
    ):
        surgery.reset(optimizer, both(optimizer))


@pytest.mark.reference
def test_the_moments_of_bitsandbytes_are_refused() -> None:
    parameter = nn.Parameter(torch.randn(64, 128))
    optimizer = AdamW8bit([parameter], lr=0.1)
    optimizer.init_state(optimizer.param_groups[0], parameter, 0, 0)
    with pytest.raises(ConfigError, match=r"'state1' \(torch\.uint8\) of AdamW8bit"):
        surgery.reset(optimizer, [parameter])


def test_state_that_is_not_elementwise_is_refused() -> None:
    optimizer = stepped(NAdam)  # whose running product begins at 1
    with pytest.raises(ConfigError, match=r"'mu_product' .* of NAdam"):
        surgery.reset(optimizer, both(optimizer))
