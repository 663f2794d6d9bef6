import pytest

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint, match, nearest

NAMES = ["hidden.0", "hidden.1", "head"]


def test_the_nearest_name_is_the_one_probably_meant() -> None:
    assert nearest("hiden.1", NAMES) == "hidden.1"


def test_a_name_like_no_other_has_no_nearest() -> None:
    assert nearest("xyz", NAMES) is None


def test_a_hint_names_the_nearest_and_then_all_in_order() -> None:
    assert hint("heda", NAMES) == "; did you mean 'head'? (there is: head, hidden.0, hidden.1)"


def test_a_hint_for_a_name_like_no_other_lists_what_there_is() -> None:
    assert hint("xyz", NAMES) == " (there is: head, hidden.0, hidden.1)"


def test_a_hint_says_nothing_where_there_is_nothing() -> None:
    assert hint("xyz", []) == ""


def test_matches_come_in_the_order_of_the_names_and_once_each() -> None:
    assert match(["head", "h*", "*.1"], NAMES, key="k") == NAMES
    assert match(["head", "*.0"], NAMES, key="k") == ["hidden.0", "head"]


def test_no_globs_match_nothing() -> None:
    assert match([], NAMES, key="k") == []


def test_globs_tell_cases_apart() -> None:
    with pytest.raises(ConfigError):
        match(["HEAD"], NAMES, key="k")


def test_a_star_reaches_across_dots() -> None:
    assert match(["hid*"], NAMES, key="k") == ["hidden.0", "hidden.1"]


def test_a_glob_that_matches_nothing_raises_though_another_matches() -> None:
    with pytest.raises(ConfigError) as error:
        match(["head", "hiden.0"], NAMES, key="method.targets")
    line = str(error.value)
    assert line.startswith("method.targets: the glob 'hiden.0' matches nothing")
    assert "did you mean 'hidden.0'?" in line


def test_a_single_string_is_not_taken_for_a_list_of_letters() -> None:
    with pytest.raises(ConfigError, match=r"method\.targets='head': must be a list.*\[head\]"):
        match("head", NAMES, key="method.targets")


def test_names_may_come_from_an_iterator() -> None:
    assert match(["*"], iter(NAMES), key="k") == NAMES


def test_a_glob_that_begins_with_maybe_may_match_nothing() -> None:
    names = ["a.weight", "b.weight"]
    assert match(["a.*", "maybe:*.bias"], names, key="k") == ["a.weight"]
    assert match(["a.*", "maybe:b.*"], names, key="k") == names
