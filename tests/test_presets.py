"""A preset is a name for globs; whoever writes the globs out trains the same thing."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.errors import ConfigError
from lowrank_bench.identity import identify
from lowrank_bench.prepare import prepare
from lowrank_bench.presets import resolved

Compose = Callable[..., DictConfig]

PRESETS = {"first": ["hidden.0"], "body": ["hidden.*"]}


@pytest.fixture
def preset(composed: Compose) -> Compose:
    """A config whose model has presets."""

    def make(*overrides: str) -> DictConfig:
        cfg = composed("method=lora", "model.hidden=[16,16]", "rank=2", *overrides)
        OmegaConf.update(cfg, "model.presets", PRESETS, force_add=True)
        return cfg

    return make


def test_a_preset_hits_its_layers_and_no_other(preset: Compose) -> None:
    found = {name: prepare(preset(f"method.targets={name}")).method.targets for name in PRESETS}
    assert found == {"first": ["hidden.0"], "body": ["hidden.0", "hidden.1"]}


def test_a_preset_is_the_globs_that_it_stands_for(preset: Compose) -> None:
    named, typed = (
        identify(preset(f"method.targets={targets}")) for targets in ("body", "['hidden.*']")
    )
    assert named == typed
    assert named != identify(preset("method.targets=first"))


def test_presets_of_a_model_may_be_its_targets(preset: Compose) -> None:
    cfg = preset("model.targets=body")
    assert prepare(cfg).method.targets == ["hidden.0", "hidden.1"]


def test_globs_are_no_preset() -> None:
    assert resolved(["body"], PRESETS) == ["body"]


@pytest.mark.parametrize(
    ("targets", "line"),
    [
        ("boddy", r"^method\.targets='boddy': the model has no such preset; did you mean 'body'\?"),
        ("*.q", r"globs are a list: method\.targets='\[\*\.q\]'$"),
    ],
)
def test_an_unknown_preset_is_refused_by_name(preset: Compose, targets: str, line: str) -> None:
    cfg = preset()
    cfg.method.targets = targets
    for taken_by in (identify, prepare):
        with pytest.raises(ConfigError, match=line):
            taken_by(cfg)


def test_a_preset_that_hits_nothing_is_refused(preset: Compose) -> None:
    cfg = preset("method.targets=first")
    cfg.model.presets["first"] = ["layers.*"]
    with pytest.raises(ConfigError, match=r"^method\.targets: the glob 'layers\.\*' matches noth"):
        prepare(cfg)
