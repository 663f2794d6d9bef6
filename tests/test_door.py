import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.version import getbase
from torch import nn

import lowrank_bench
from lowrank_bench import load_method
from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.method import Method

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def net() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def test_the_example_of_the_page_learns() -> None:
    torch.manual_seed(0)
    names: dict = {}
    exec(EXAMPLES[0], names)
    assert float(names["loss"].detach()) < 0.7  # from about log 4 = 1.386
    assert names["update"] == 99
    assert type(names["model"]) is nn.Sequential


@pytest.mark.reference
def test_the_example_with_peft_gives_a_method() -> None:
    names: dict = {"load_method": load_method}
    exec(EXAMPLES[1], names)
    model = names["method"].apply(net())
    assert model.get_submodule("0").hada_w1_a["default"].shape[1] == 4  # type: ignore[index]


def test_importing_the_package_stays_light() -> None:
    code = "import lowrank_bench, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "hydra", "omegaconf"} & set(done.stdout.split())


def test_another_attribute_is_missing_as_usual() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'load_methods'"):
        lowrank_bench.load_methods  # noqa: B018


def test_overrides_are_those_of_the_command_line() -> None:
    method = load_method("lora", ["rank=3", "lr=0.5", "method/init=pissa"], seed=7)
    assert isinstance(method, Method)
    assert (method.name, method.seed) == ("lora", 7)
    model = method.apply(net())
    assert model.get_parameter("0.A").shape == (3, 6)
    assert model.get_parameter("0.B").any()  # PiSSA's
    assert method.optimizer(model).param_groups[0]["lr"] == 0.5


def test_every_linear_layer_is_a_target_and_none_is_a_head() -> None:
    method = load_method("lora")
    assert (method.slots.targets, method.slots.head) == (["*"], None)
    chosen = load_method("lora", ["method.targets=['0']", "method.head='2'"])
    model = chosen.apply(net())
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"0.A", "0.B", "2.weight", "2.bias"}


def test_the_seed_decides_the_draw() -> None:
    one, same, other = (load_method("lora", seed=s).apply(net()) for s in (1, 1, 2))
    assert torch.equal(one.get_parameter("0.A"), same.get_parameter("0.A"))
    assert not torch.equal(one.get_parameter("0.A"), other.get_parameter("0.A"))


def test_an_adapted_layer_can_be_merged() -> None:
    model = load_method("lora").apply(net())
    layer = model.get_submodule("0")
    with torch.no_grad():
        layer.B.normal_()  # type: ignore[union-attr, operator]
    before = layer.effective_weight().clone()  # type: ignore[operator]
    layer.merge_()  # type: ignore[operator]
    assert torch.equal(layer.base.weight, before)  # type: ignore[union-attr]
    torch.testing.assert_close(layer.effective_weight(), before)  # type: ignore[operator]


def test_it_works_inside_of_another_hydra_app(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("x: 1\n")
    with initialize_config_dir(version_base="1.2", config_dir=str(tmp_path)):
        theirs, base = GlobalHydra.instance().hydra, getbase()
        assert load_method("lora").name == "lora"
        with pytest.raises(ConfigError, match=r"rnk: there is no such key; did you mean 'rank'"):
            load_method("lora", ["rnk=3"])
        assert GlobalHydra.instance().hydra is theirs
        assert getbase() == base
        assert compose("other").x == 1


def test_it_leaves_nothing_initialised_behind() -> None:
    load_method("lora")
    assert not GlobalHydra.instance().is_initialized()


def test_a_folder_of_ones_own_is_searched_too(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text("defaults: [lora, _self_]\nname: mine\n")
    assert load_method("mine", config_dir=tmp_path).name == "mine"
    with pytest.raises(ConfigError, match="no such choice"):
        load_method("mine")


def test_a_folder_that_shadows_a_packaged_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "lora.yaml").write_text("name: lora\n")
    with pytest.raises(ConfigError, match=r"method/lora\.yaml has the path of a packaged file"):
        load_method("lora", config_dir=tmp_path)


@pytest.mark.parametrize(
    ("name", "overrides", "line"),
    [
        ("adalorra", [], "method=adalorra: there is no such choice; did you mean 'adalora'?"),
        ("lora", ["method/init=pisa"], "method/init=pisa: there is no such choice; did you mean"),
        ("lora", ["method.adapter.alhpa=1"], "did you mean 'method.adapter.alpha'?"),
        ("lora", ["rank=-1"], "rank=-1: must be a positive whole number"),
        ("lora", ["rank=1,2"], "several values make a sweep"),
        ("lora", ["+method.optimizer.ls=1"], "torch.optim.AdamW has no 'ls'; did you mean 'lr'"),
        ("lora", ["+method.optimiser=null"], "method.optimiser: there is no such slot; did you"),
        ("lora", ["method=full"], "the recipe is given by its name, 'lora'"),
        ("lora", ["method.adapter._target_=nowhere.X"], "there is no package 'nowhere' here"),
        ("lora", ["method.optimizer._target_=torch.optim.AdamWW"], "'torch.optim.AdamW'?"),
        ("lora", ["method.adapter.rank=${rnk}"], "rnk"),
        ("lora", ["method.adapter._target_=null"], "_target_=None: must be a dotted name"),
        ("lora", ["method.adapter._target_=lowrank_bench.layers.lora.LoRa.adapt"], "'LoRa'; did"),
        ("lora", ["method.adapter._target_=lowrank_bench.lyers.X"], "'lowrank_bench.layers'?"),
        ("lora", ["method.adapter._partial_=false"], "its YAML says `_partial_: true`"),
        ("full", ["method.adapter.rank=4"], "no such key; did you mean 'method.optimizer"),
    ],
)
def test_a_mistake_is_one_line_that_says_what_would_be_right(
    name: str, overrides: list[str], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as error:
        load_method(name, overrides)
    assert line in str(error.value)
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


def test_a_folder_that_does_not_exist_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="there is no such folder"):
        load_method("lora", config_dir="/nowhere")


def test_the_packaged_configs_are_found_from_here() -> None:
    assert (config_dir() / "method" / "lora.yaml").exists()
