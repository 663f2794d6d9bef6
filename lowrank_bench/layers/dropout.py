"""Dropout at the input of a correction."""

from torch import nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.rank import is_number


def dropout_of(p: float) -> nn.Module:
    """Dropout at the input of a correction; none at all for 0.

    Raises: ConfigError for a share outside [0, 1).
    """
    if not (is_number(p) and 0 <= p < 1):
        raise ConfigError(f"method.adapter.dropout={p}: must lie in [0, 1)")
    return nn.Dropout(p) if p else nn.Identity()
