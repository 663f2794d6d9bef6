import numpy as np
import pytest

from lowrank_bench.protocol.holm import holm


def test_it_gives_the_numbers_of_a_published_example() -> None:
    # That of the Wikipedia article "Holm-Bonferroni method": of four, H1 and H4 are rejected.
    adjusted = holm([0.01, 0.04, 0.03, 0.005])
    assert adjusted == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert [p <= 0.05 for p in adjusted] == [True, False, False, True]


def test_it_never_falls_below_a_smaller_p_and_never_exceeds_one() -> None:
    draw = np.random.default_rng(0)
    for size in (1, 2, 7, 40):
        p = draw.uniform(size=size) ** 3
        adjusted = np.array(holm(list(p)))
        order = np.argsort(p)
        assert (np.diff(adjusted[order]) >= 0).all()
        assert (adjusted >= p).all() and (adjusted <= 1).all()
        assert adjusted.min() == pytest.approx(min(1, size * p.min()))


def test_of_one_test_nothing_is_corrected_and_of_none_there_is_nothing() -> None:
    assert holm([0.03]) == [0.03]
    assert holm([]) == []


def test_equal_p_are_adjusted_alike() -> None:
    assert holm([0.02, 0.02, 0.02]) == pytest.approx([0.06, 0.06, 0.06])
