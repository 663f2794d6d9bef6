import pytest
import torch
from torch import Tensor, nn

from lowrank_bench.layers.svd import SVDLinear
from lowrank_bench.optim.importance import keep_largest, mask, parts, smooth, triplet_scores

BETAS = {"beta1": 0.85, "beta2": 0.85}


def layers(*shapes: tuple[int, int, int]) -> list[SVDLinear]:
    torch.manual_seed(0)
    made = [SVDLinear(nn.Linear(i, o), r, 4, 0) for i, o, r in shapes]
    for part in parts(made):
        nn.init.normal_(part)
    return made


def zeros(*shape: int) -> tuple[list[Tensor], list[Tensor]]:
    return [torch.zeros(*shape)], [torch.zeros(*shape)]


def test_a_constant_sensitivity_has_the_values_computed_by_hand() -> None:
    kept = zeros(2)
    p, g = torch.tensor([2.0, -3.0]), torch.tensor([-3.0, -2.0])  # |p g| = 6
    for mean, spread, score in ((0.9, 0.765, 0.6885), (1.665, 1.3005, 2.16533)):
        assert smooth([p], [g], kept, **BETAS)
        sensitivity, uncertainty = kept[0][0], kept[1][0]
        torch.testing.assert_close(sensitivity, torch.full((2,), mean))
        torch.testing.assert_close(uncertainty, torch.full((2,), spread))
        torch.testing.assert_close(sensitivity * uncertainty, torch.full((2,), score))


def test_each_average_has_its_own_rate() -> None:
    kept = zeros(1)
    smooth([torch.ones(1)], [torch.ones(1)], kept, beta1=0.5, beta2=0.9)
    assert [float(part[0]) for part in kept] == pytest.approx([0.5, 0.1 * 0.5])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_leaves_the_averages(bad: float) -> None:
    kept = zeros(2)
    smooth([torch.ones(2)], [torch.ones(2)], kept, **BETAS)
    before = [part[0].clone() for part in kept]
    assert not smooth([torch.ones(2)], [torch.tensor([1.0, bad])], kept, **BETAS)
    assert all(torch.equal(a[0], b) for a, b in zip(kept, before, strict=True))


def test_a_score_is_that_of_the_value_and_the_means_over_both_vectors() -> None:
    made = layers((5, 9, 3), (9, 5, 2), (6, 6, 4), (5, 9, 3))
    shapes = [part.shape for part in parts(made)]
    kept = [torch.rand(s) for s in shapes], [torch.rand(s) for s in shapes]
    expected = []
    for i, layer in enumerate(made):
        P, lam, Q = (kept[0][3 * i + part] * kept[1][3 * i + part] for part in range(3))
        for k in range(layer.rank):
            expected.append(lam[k] + P[:, k].mean() + Q[k].mean())
    torch.testing.assert_close(triplet_scores(made, kept), torch.stack(expected))


def test_exactly_so_many_are_kept_and_of_equal_ones_the_first() -> None:
    scores = torch.tensor([1.0, 2.0, 1.0, 3.0, 1.0])
    assert keep_largest(scores, 3).tolist() == [True, True, False, True, False]
    assert keep_largest(torch.zeros(4), 2).tolist() == [True, True, False, False]
    assert keep_largest(scores, 5).all()


def test_a_mask_is_kept_and_given_again() -> None:
    made = layers((5, 9, 3), (9, 5, 2))
    mask(made, torch.tensor([True, False, True, False, False]))
    assert [layer.active_rank for layer in made] == [2, 0]
    with torch.no_grad():
        made[0].lam.fill_(1)
    mask(made, None)
    assert made[0].lam.tolist() == [1, 0, 1]
