"""How numbers of a study are written: accuracies in points, losses in nats."""


def number(value: float, metric: str | None) -> str:
    """A value: '91.25 %', '0.2512 nats'."""
    return f"{value:.4f} nats" if metric == "loss" else f"{100 * value:.2f} %"


def amount(value: float, metric: str | None) -> str:
    """A difference without its sign: '0.25 points', '0.0125 nats'."""
    return f"{_digits(abs(value), metric)} {unit(metric)}"


def signed(value: float, metric: str | None) -> str:
    """A difference, positive is better: '-0.25 points'."""
    return f"{bare(value, metric)} {unit(metric)}"


def bare(value: float, metric: str | None) -> str:
    """A difference without its unit: '+0.25'."""
    digits = _digits(abs(value), metric)
    is_zero = not float(digits)
    return digits if is_zero else f"{'-' if value < 0 else '+'}{digits}"


def unit(metric: str | None) -> str:
    return "nats" if metric == "loss" else "points"


def _digits(value: float, metric: str | None) -> str:
    return f"{value:.4f}" if metric == "loss" else f"{100 * value:.2f}"


def plural(count: int, noun: str) -> str:
    """'one seed', '3 seeds'."""
    return f"one {noun}" if count == 1 else f"{count} {noun}s"


def listed(names: list[str], most: int = 6) -> str:
    """'a', 'a and b', 'a, b and c', 'a, b, c and 4 more'."""
    if len(names) > most:
        names = [*names[: most - 1], f"{len(names) - most + 1} more"]
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
