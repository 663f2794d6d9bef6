"""A study's rules are checked before anything is trained."""

import pytest
from omegaconf import OmegaConf

from lowrank_bench.errors import ConfigError
from lowrank_bench.protocol.ledger import Arm, Ledger
from lowrank_bench.study.rules import ledger_of, space_of


def node(**changes):
    given = {
        "name": "fair",
        "search": "grid",
        "trials": 9,
        "first": 7,
        "per_decade": 4,
        "tuning_seeds": [1, 2, 3],
        "fresh_seeds": "auto",
        "references": ["full", "lora"],
        "alpha": 0.05,
        "margins": {"accuracy": 0.005, "loss": 0.01},
        "metric": "auto",
        "duplicates": 2,
        "report": True,
        "centres": {"default": 0.003, "lora": 0.01},
        "knobs": {"lora_plus": {"method.optimizer.ratio": [4]}},
    }
    return OmegaConf.create(given | changes)


def arms(*names: str) -> list[Arm]:
    found = []
    for name in names:
        method, _, rank = name.partition(" r")
        found.append(Arm(name, method, int(rank) if rank else None, []))
    return found


def ledger(*names: str, **changes) -> Ledger:
    return ledger_of(node(**changes), "c0ffee", arms(*names))


def test_eleven_comparisons_take_nine_seeds() -> None:
    found = ledger("full", *(f"m{i}" for i in range(11)))
    assert len(found.comparisons()) == 11
    assert found.rules.fresh_seeds == tuple(range(101, 110))


def test_fresh_seeds_begin_after_those_that_tuned() -> None:
    found = ledger("full", "lora r8", tuning_seeds=[7, 500])
    assert found.rules.fresh_seeds == tuple(range(501, 507))


def test_fresh_seeds_may_be_counted_or_listed() -> None:
    assert ledger("full", "lora r8", fresh_seeds=3).rules.fresh_seeds == (101, 102, 103)
    assert ledger("full", "lora r8", fresh_seeds=[8, 9]).rules.fresh_seeds == (8, 9)


def test_each_arm_is_held_against_each_reference_at_its_own_rank_once() -> None:
    found = ledger("full", "lora r4", "lora r8", "dora r4", "dora r8", "bitfit")
    assert found.comparisons() == [
        ("full", "lora r4"),
        ("full", "lora r8"),
        ("full", "dora r4"),
        ("full", "dora r8"),
        ("full", "bitfit"),
        ("lora r4", "dora r4"),
        ("lora r8", "dora r8"),
    ]


def test_a_method_without_a_centre_of_its_own_has_the_default() -> None:
    rules = ledger("full", "lora r8").rules
    assert space_of(rules, "lora").centre == 0.01
    assert space_of(rules, "mine").centre == 0.003
    assert space_of(rules, "lora_plus").knobs == {"method.optimizer.ratio": [4]}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"trails": 9}, "study.trails: there is no such key; did you mean 'trials'"),
        ({"search": "grdi"}, "study.search=grdi"),
        ({"metric": "acc"}, "study.metric=acc"),
        ({"trials": 0}, "study.trials=0"),
        ({"trials": 2.5}, "study.trials=2.5"),
        ({"per_decade": 0}, "study.per_decade=0"),
        ({"alpha": 1.5}, "study.alpha=1.5"),
        ({"alpha": "five"}, "study.alpha=five"),
        ({"tuning_seeds": []}, "study.tuning_seeds=[]"),
        ({"tuning_seeds": 3}, "study.tuning_seeds=3"),
        ({"tuning_seeds": [1, 1]}, "names a seed twice"),
        ({"fresh_seeds": [1, 8]}, "1 is a tuning seed too"),
        ({"fresh_seeds": 0}, "study.fresh_seeds=0"),
        ({"fresh_seeds": "many"}, "study.fresh_seeds=many"),
        ({"margins": {"accuracy": 0.1}}, "study.margins"),
        ({"margins": {"accuracy": -1, "loss": 1}}, "study.margins.accuracy=-1"),
        ({"centres": {"lora": 0.1}}, "study.centres.default: is missing"),
        ({"centres": {"default": 0}}, "study.centres.default=0"),
        ({"duplicates": -1}, "study.duplicates=-1"),
        ({"margins": 0.01}, "study.margins=0.01: must name values by key"),
        ({"centres": 0.01}, "study.centres=0.01: must name values by key"),
        ({"knobs": {"lora": {"method.adapter.alpha": 8}}}, "study.knobs.lora"),
        ({"references": ["ful"]}, "study.references: ful: no such method; did you mean 'full'"),
        ({"references": "full"}, "study.references=full: must be a list of methods"),
        ({"name": None}, "study.name: is missing"),
    ],
)
def test_a_rule_that_cannot_be_right_is_named(changes, named) -> None:
    with pytest.raises(ConfigError, match=named.replace("[", r"\[").replace("]", r"\]")):
        ledger("full", "lora r8", **changes)


def test_a_ledger_comes_back_from_its_file(tmp_path) -> None:
    found = ledger("full", "lora r8")
    found.write(tmp_path)
    assert Ledger.read(tmp_path) == found


def test_rules_that_changed_after_results_are_told_for_ever() -> None:
    first = ledger("full", "lora r8")
    first.arms[0].runs = {101: "a", 102: "b"}
    second = ledger("full", "lora r8", margins={"accuracy": 0.05, "loss": 0.01})
    second.go_on_from(first)
    assert second.revisions == ["margins changed after 2 finals"]
    third = ledger("full", "lora r8", margins={"accuracy": 0.05, "loss": 0.01})
    third.go_on_from(second)
    assert third.revisions == ["margins changed after 2 finals"]


def test_rules_that_changed_before_any_result_are_nobodys_business() -> None:
    second = ledger("full", "lora r8", alpha=0.01)
    second.go_on_from(ledger("full", "lora r8"))
    assert second.revisions == []


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"schema": 7}', '{"schema": 1, "rules": 3}'])
def test_another_file_in_its_place_is_one_line(tmp_path, content) -> None:
    (tmp_path / "study.json").write_text(content)
    with pytest.raises(ConfigError, match=r"study\.json"):
        Ledger.read(tmp_path)
