import pytest

from .asides import asides
from .claims import Claim
from .measured import measure, recorded
from .rows import FAILS, check, rows
from .sources import claims

SLOW = ("llama_7b", "llama_70b", "llama_13b", "llama2_7b", "llama3", "gpt3")
COARSE = {  # two digits, which do not tell 1.024e9 bytes from 1e9
    *("apollo.t2.mini.total.60M", "apollo.t2.mini.total.130M", "lora.readme.gpt2m.ckpt"),
    *("galore.intro.7b.weights", "fira.t3.fira_galore.total.60M", "lllf.s14.adam.8gpu"),
}


def cases(named: dict[str, Claim]) -> list:
    """The ids; those of large models, which take half a minute together, are slow."""
    return [
        pytest.param(
            name,
            marks=[pytest.mark.slow] if any(m in str(claim.plans) for m in SLOW) else [],
        )
        for name, claim in named.items()
    ]


def test_every_row_is_claimed_and_nothing_else() -> None:
    assert list(claims()) == list(rows())
    assert list(recorded()) == [*rows(), *asides()]


@pytest.mark.parametrize("name", cases(claims()))
def test_the_planner_finds_the_published_number(name: str) -> None:
    row, claim = rows()[name], claims()[name]
    measured = measure(row, claim)
    check(row, measured.found)
    assert measured == recorded()[name], "the page is old: make published-costs"
    for factor in (0.5, 2) if name in COARSE else (0.5, 1.024, 2):
        with pytest.raises(AssertionError):  # that a check which all pass is none
            check(row, measured.found * factor)


@pytest.mark.parametrize("name", cases(asides()))
def test_the_planner_finds_what_the_page_says_beside(name: str) -> None:
    assert asides()[name].found() == recorded()[name].found, "make published-costs"


def test_a_number_that_is_said_to_fail_and_holds_is_noticed() -> None:
    row = next(row for row in rows().values() if row.status == FAILS)
    with pytest.raises(AssertionError, match="so it does reproduce"):
        check(row, row.value)
