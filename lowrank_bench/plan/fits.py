"""The largest micro-batch that a memory has room for."""

from collections.abc import Callable

from omegaconf import DictConfig

from lowrank_bench.plan.plan import Plan, plan

MOST = 2**20  # examples; beyond that nobody looks


def largest(cfg: DictConfig, room: int, need: Callable[[Plan], int]) -> tuple[Plan, bool]:
    """The plan with the largest micro-batch whose `need` is at most `room` bytes, and True.

    Where a single example needs more, the plan for it, and False.
    What is needed grows in proportion to the batch, nearly: a line through two plans tells where
    to look, and the places beside it are planned until one fits and the next does not.
    """
    one = best = plan(cfg, 1)
    if need(one) > room:
        return one, False
    guess, too_large = 2, MOST + 1
    while too_large - best.micro_batch > 1:
        tried = plan(cfg, guess)
        if need(tried) <= room:
            best = tried
        else:
            too_large = guess
        slope = (need(tried) - need(one)) / (guess - 1)
        on_the_line = 1 + int((room - need(one)) // slope) if slope > 0 else MOST
        guess = min(max(on_the_line, best.micro_batch + 1), too_large - 1)
    return best, True
