"""How many fresh seeds a claim takes.

The smallest p of an exact two-sided test on n pairs is 2^(1-n): all differences on one side, or
all on the other. After Holm's correction the best of m comparisons is held against alpha / m.
"""


def smallest_p(num_seeds: int) -> float:
    """Of an exact two-sided paired test."""
    return 2.0 ** (1 - num_seeds)


def seeds_needed(num_comparisons: int, alpha: float) -> int:
    """The smallest n with m 2^(1-n) <= alpha, m and n being at least 1 and 2."""
    n = 2
    while max(1, num_comparisons) * smallest_p(n) > alpha:
        n += 1
    return n


def what_cannot_be_claimed(num_seeds: int, num_comparisons: int, alpha: float) -> str | None:
    """One line, before anything is trained; None where any of the differences may be found real."""
    if num_comparisons == 0 or num_comparisons * smallest_p(num_seeds) <= alpha:
        return None
    needed = seeds_needed(num_comparisons, alpha)
    best = smallest_p(num_seeds)
    alone = best <= alpha
    return (
        f"{num_seeds} fresh seeds cannot show that any of {num_comparisons} differences is real: "
        f"the smallest exact p is {best:.3g}, and Holm holds the best of {num_comparisons} against "
        f"{alpha / num_comparisons:.2g}"
        f"{' (a single comparison could be shown)' if alone else ''}; {needed} would do"
    )
