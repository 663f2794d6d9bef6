"""Arguments as W&B's agent writes them, as overrides that Hydra reads back as the same values."""

from pathlib import Path
from typing import Any

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from wandb.sdk.launch.sweeps.utils import create_sweep_command_args

from lowrank_bench.compose import composed
from lowrank_bench.dashboard.arguments import overrides_of
from lowrank_bench.errors import ConfigError


def as_the_agent_writes(**parameters: object) -> list[str]:
    args = {key: {"value": value} for key, value in parameters.items()}
    return create_sweep_command_args({"args": args})["args"]


@pytest.mark.parametrize(
    "value",
    [
        *(None, True, False, 3, 1e-05, 0.1, -2.5),
        *(
            "lora",
            "32-true",
            "a b",
            "a,b",
            "it's",
            "key: {x}",
            "runs/here",
            "",
            "x=y",
            "[",
            "back\\",
        ),
        *([1, 2], [0.9, None, "a b", "true"], [], [{"a": 1}]),
    ],
    ids=repr,
)
def test_a_value_comes_through_as_it_was(value: object) -> None:
    words = overrides_of(as_the_agent_writes(key=value))
    (override,) = OverridesParser.create().parse_overrides(words)
    assert not override.is_sweep_override()
    found: Any = OmegaConf.to_container(OmegaConf.create({"key": override.value()}))
    assert found == {"key": value}
    assert type(found["key"]) is type(value)


def test_nested_parameters_become_dotted_keys() -> None:
    nested = {"adapter": {"alpha": 8, "dropout": None}, "targets": ["head"]}
    assert overrides_of(as_the_agent_writes(method=nested)) == [
        "method.adapter.alpha=8",
        "method.adapter.dropout=null",
        "method.targets=[head]",
    ]


def test_a_choice_of_files_may_be_said_with_dots_as_wandb_allows_no_slash() -> None:
    given = as_the_agent_writes(**{"method": "lora", "method.init": "pissa"})
    words = overrides_of(given)
    assert words == ["method=lora", "method/init=pissa"]
    assert composed(words).method.init._target_.endswith("pissa")


def test_none_is_null_and_not_the_word_none() -> None:
    words = overrides_of(as_the_agent_writes(**{"method.init": None, "budget.clip_norm": None}))
    assert words == ["method.init=null", "budget.clip_norm=null"]
    assert composed(words).method.init is None


def test_a_choice_of_ones_own_folder_counts_too(tmp_path: Path) -> None:
    (tmp_path / "thing" / "part").mkdir(parents=True)
    assert overrides_of([f"--config-dir={tmp_path}", "--thing.part=x"]) == [
        f"--config-dir={tmp_path}",
        "thing/part=x",
    ]


def test_plain_overrides_stay_as_they_are() -> None:
    words = ["data=digits", "~method.init", "+x.y=[1,2]", "rank=4"]
    assert overrides_of(words) == words


def test_a_parameter_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--lr: no value; .* \$\{args\}"):
        overrides_of(["--lr", "0.1"])
