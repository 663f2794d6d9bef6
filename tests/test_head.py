from types import SimpleNamespace

import pytest
from torch import nn

from lowrank_bench import load_method
from lowrank_bench.errors import ConfigError
from lowrank_bench.head import Head

MLP = SimpleNamespace(name="net", head="2", get=lambda key: "2")


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))


def trained(model: nn.Module) -> list[str]:
    return [name for name, parameter in model.named_parameters() if parameter.requires_grad]


def rule(name: str) -> SimpleNamespace:
    return SimpleNamespace(head=name)


def test_a_kept_head_is_a_layer_like_any() -> None:
    assert Head.of(MLP, rule("kept")) is None
    model = load_method("lora", ["rank=2"]).apply(net(), head=None)
    assert "2.A" in trained(model)


@pytest.mark.parametrize("recipe", ["full", "lora", "adalora", "galore", "bitfit", "vera", "loha"])
@pytest.mark.parametrize(("name", "trains"), [("fresh", True), ("frozen", False)])
def test_a_head_set_apart_trains_whole_or_not_at_all(recipe: str, name: str, trains: bool) -> None:
    head = Head.of(MLP, rule(name))
    model = load_method(recipe, ["rank=2"]).apply(net(), head=head)
    assert type(model.get_submodule("2")) is nn.Linear
    found = trained(model)
    assert [each for each in found if each.startswith("2.")] == (
        ["2.weight", "2.bias"] if trains else []
    )
    assert any(each.startswith("0.") for each in found)


def test_a_head_is_its_modules_and_no_namesake() -> None:
    head = Head("head", trains=True)
    assert head.holds("head") and head.holds("head.weight") and head.holds("head.0.bias")
    assert not head.holds("headless.weight") and not head.holds("body.head")


def test_targets_that_are_the_head_alone_are_refused() -> None:
    method = load_method("lora", ["rank=2", "method.targets=['2']"])
    with pytest.raises(ConfigError, match=r"^method\.targets: 2 is the head, which base\.head"):
        method.apply(net(), head=Head("2", trains=True))


def test_an_unknown_rule_and_a_model_without_a_head_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^base\.head=new: must be one of fresh, kept, frozen$"):
        Head.of(MLP, rule("new"))
    with pytest.raises(ConfigError, match=r"^base\.head=fresh: model=net names no head$"):
        Head.of(SimpleNamespace(name="net", head=None, get=lambda key: None), rule("fresh"))


def test_a_head_must_be_there_and_share_nothing() -> None:
    Head("2", trains=True).check(net())
    with pytest.raises(ConfigError, match=r"^model\.head=3: the model has no such module$"):
        Head("3", trains=True).check(net())
    tied = nn.Sequential(nn.Embedding(3, 4), nn.ReLU(), nn.Linear(4, 3, bias=False))
    tied.get_submodule("2").weight = tied.get_submodule("0").weight
    for trains, name in ((True, "fresh"), (False, "frozen")):
        line = rf"^base\.head={name}: '2' shares its weight with '0\.weight'; say base\.head=kept$"
        with pytest.raises(ConfigError, match=line):
            Head("2", trains=trains).check(tied)
