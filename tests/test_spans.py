import pytest

from lowrank_bench.errors import ConfigError
from lowrank_bench.spans import span


@pytest.mark.parametrize(
    ("value", "updates"), [(0, 0), (7, 7), (5000, 5000), (0.25, 50), (0.0, 0), (3.0, 3), (1, 1)]
)
def test_a_whole_number_is_itself_and_a_fraction_a_share_of_all(value: float, updates: int) -> None:
    assert span("key", value, 200) == updates


@pytest.mark.parametrize("value", [-1, -0.5, 1.5, float("nan"), float("inf"), True, "7", None])
def test_anything_else_is_refused_by_its_key(value) -> None:
    with pytest.raises(ConfigError, match=r"method\.hooks\.x=.*: must be a whole number"):
        span("method.hooks.x", value, 200)
