"""The largest micro-batch that fits, and not one more."""

from collections.abc import Callable

from omegaconf import DictConfig

from lowrank_bench.plan.fits import largest
from lowrank_bench.plan.plan import Plan, plan


def peak(of: Plan) -> int:
    return of.traced.peak_bytes


def test_one_example_more_would_not_fit(composed: Callable[..., DictConfig]) -> None:
    cfg = composed("data=digits", "method=lora", "model.hidden=[64,64]")
    for room in (peak(plan(cfg, 1)), 100_000, 1_234_567):
        found, fits = largest(cfg, room, peak)
        assert fits
        assert peak(found) <= room < peak(plan(cfg, found.micro_batch + 1))


def test_a_model_that_is_too_large_fits_with_no_batch(composed: Callable[..., DictConfig]) -> None:
    found, fits = largest(composed("data=digits", "method=full"), 1000, peak)
    assert (found.micro_batch, fits) == (1, False)


def test_it_takes_few_plans(composed: Callable[..., DictConfig]) -> None:
    asked = []

    def counted(of: Plan) -> int:
        asked.append(of.micro_batch)
        return peak(of)

    largest(composed("data=digits", "method=full"), 2**30, counted)
    assert len(set(asked)) <= 8
