"""Names for sets of layers: attention, mlp, all-linear, qv."""

from collections.abc import Mapping, Sequence

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint


def resolved(targets: Sequence[str] | str, presets: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """The globs that `targets` stands for: a preset's where it is the name of one.

    Raises: ConfigError for a name that the model has no preset of.
    """
    if not isinstance(targets, str):
        return targets
    if targets not in presets:
        raise ConfigError(
            f"method.targets={targets!r}: the model has no such preset{hint(targets, presets)}"
            f"; globs are a list: method.targets='[{targets}]'"
        )
    return presets[targets]
