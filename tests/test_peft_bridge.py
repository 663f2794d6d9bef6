from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from peft_runs import (
    ADAPT,
    NAMES,
    bridged,
    net,
)
from torch import nn

from lowrank_bench import load_method
from lowrank_bench.callbacks.starts import dense_weights, start_receipts
from lowrank_bench.errors import ConfigError
from lowrank_bench.peft_bridge import adapt, tuner_of
from lowrank_bench.roles import count_by_role
from lowrank_bench.start import DRIFT

pytestmark = pytest.mark.reference

# The model


def test_unadapted_parameters_keep_their_names_and_a_head_trains_whole() -> None:
    method = bridged("LoHaConfig", "method.targets=['0','2']", "method.head='4'")
    model = method.apply(net())
    assert {"4.weight", "4.bias", "2.base_layer.weight"} <= set(dict(model.named_parameters()))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert {"4.weight", "4.bias"} <= trained  # PEFT alone leaves it frozen
    assert all("hada_" in name for name in trained - {"4.weight", "4.bias"})


def test_a_target_is_not_the_ending_of_a_longer_name() -> None:
    inner = nn.ModuleDict({"0": nn.Linear(4, 4), "x": nn.Sequential(nn.Linear(4, 4))})
    model = adapt(nn.Sequential(inner), ["0.0"], config=peft.LoraConfig, rank=2)
    assert type(model.get_submodule("0.x.0")) is nn.Linear
    wide = nn.ModuleDict({"fc": nn.Linear(4, 4), "up": nn.ModuleDict({"fc": nn.Linear(4, 4)})})
    adapt(wide, ["fc"], config=peft.LoraConfig, rank=2)
    assert type(wide.get_submodule("up.fc")) is nn.Linear


def test_the_biases_that_a_config_asks_for_train() -> None:
    model = bridged("LoraConfig", f"+{ADAPT}.bias=lora_only").apply(net())
    assert count_by_role(model)["bias"] == 16 + 12 + 4


def test_the_start_is_a_function_of_the_seed_and_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    models = []
    for seed in (1, 1, 2):
        model = nn.Sequential(nn.Linear(4, 4, device="meta"))
        model = model.to_empty(device="cpu")
        nn.init.ones_(model[0].weight)  # type: ignore[arg-type]
        nn.init.zeros_(model[0].bias)  # type: ignore[arg-type]
        models.append(bridged("LoraConfig", seed=seed).apply(model).state_dict())
    assert torch.equal(torch.get_rng_state(), before)
    one, same, other = (state["0.lora_A.default.weight"] for state in models)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


def test_the_receipts_of_the_start_see_the_layers() -> None:
    model = bridged("OFTConfig").apply(net())
    found = start_receipts(model, dense_weights(model))
    assert found["start_equals_base"]["ok"] is True
    assert set(found["start_std_ratio"]["value"]) == set(NAMES)


def test_a_start_that_moves_is_refused_until_it_is_accepted() -> None:
    moved = bridged("FourierFTConfig", f"{ADAPT}.init_weights=false".replace("method", "++method"))
    with pytest.raises(ConfigError, match=r"'0' no longer computes.*same_start=false"):
        moved.apply(net())
    accepted = bridged("VBLoRAConfig").apply(net())
    found = start_receipts(accepted, dense_weights(accepted))["start_equals_base"]
    assert found["ok"] is None
    assert found["value"] > DRIFT


# Rank and fields


@pytest.mark.parametrize(
    ("name", "more", "expected"),
    [
        ("LoHaConfig", (), {"r": 2}),
        ("LoHaConfig", (f"+{ADAPT}.r=3",), {"r": 3}),
        ("OFTConfig", (), {"oft_block_size": 2, "r": 0}),
        ("OFTConfig", (f"+{ADAPT}.r=2",), {"oft_block_size": 0, "r": 2}),
        ("BOFTConfig", (), {"boft_block_size": 2, "boft_block_num": 0}),
        ("AdaLoraConfig", (), {"target_r": 2, "init_r": 3}),
        ("IA3Config", (), {}),
    ],
)
def test_the_rank_goes_where_the_tuner_counts_it(
    name: str, more: tuple[str, ...], expected: dict[str, int]
) -> None:
    config = tuner_of(bridged(name, *more).apply(net())).peft_config["default"]
    assert {field: getattr(config, field) for field in expected} == expected


def test_ia3_scales_named_layers_at_their_input() -> None:
    method = load_method("ia3", [f"{ADAPT}.feedforward_modules=['2']"])
    model = method.apply(net())
    assert method.slots.adapter.keywords["rank"] is None  # type: ignore[union-attr]
    shapes = [p.numel() for name, p in model.named_parameters() if "ia3_l" in name]
    assert shapes == [16, 16, 4]  # outputs, inputs, outputs


def test_ia3_does_not_pass_over_a_name_that_is_no_target() -> None:
    method = load_method("ia3", [f"{ADAPT}.feedforward_modules=[down]"])
    with pytest.raises(ConfigError, match="feedforward_modules: the glob 'down' matches nothing"):
        method.apply(net())


@pytest.mark.parametrize(
    ("name", "more", "line"),
    [
        ("LoHaConfig", "+{}.alhpa=1", "{}.alhpa: peft.LoHaConfig has no 'alhpa'; did you mean 'al"),
        ("LoHaConfg", "seed=0", "peft has no 'LoHaConfg'; did you mean 'peft.LoHaConfig'?"),
        ("LoraModel", "seed=0", "must be a config class of peft, not LoraModel"),
        ("LoraConfig", "+{}.target_modules=[a]", "{}.target_modules: method.targets says which"),
        ("LoraConfig", "+{}.init_lora_weights=eva_", "peft.LoraConfig refused: "),
        ("LoraConfig", "method.adapter.rank=0", "method.adapter.rank=0: must be a positive"),
        ("LoraConfig", "+{}.exclude_modules=['2']", "peft.LoraConfig did not adapt 2"),
        ("OFTConfig", "method.adapter.rank=5", "cannot divide the features of every layer"),
        ("BOFTConfig", "method.adapter.rank=5", "peft.BOFTConfig refused: "),
        ("AdaLoraConfig", "+{}.total_step=5", "{}.total_step: the length of training"),
        ("AdaLoraConfig", "+{}.init_r=2", "target_r"),
        ("AdamssConfig", "+{}.use_asa=true", "use_asa"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_tuner(name: str, more: str, line: str) -> None:
    with pytest.raises(ConfigError) as error:
        bridged(name, more.format(ADAPT)).apply(net())
    assert line.format(ADAPT) in str(error.value)
    assert "\n" not in str(error.value)


def test_without_peft_the_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    import lowrank_bench.build as building

    def find(name: str, find: Callable[[str], Any] = building.find_spec) -> Any:
        return None if name == "peft" else find(name)

    def missing(path: str, get: Callable[[str], Any] = building.get_object) -> Any:
        if path.startswith("peft"):
            raise ModuleNotFoundError("No module named 'peft'")
        return get(path)

    monkeypatch.setattr(building, "find_spec", find)
    monkeypatch.setattr(building, "get_object", missing)
    with pytest.raises(ConfigError, match=r"pip install 'lowrank-bench\[peft\]'"):
        load_method("loha")


def test_by_hand_without_peft_the_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    with pytest.raises(ConfigError, match=r"pip install 'lowrank-bench\[peft\]'"):
        adapt(net(), NAMES, config=dict)


def test_an_init_of_ours_does_not_fit_a_layer_of_theirs() -> None:
    with pytest.raises(ConfigError, match=r"method\.init=zero_b: starts adapter .* '0' is peft"):
        bridged("LoraConfig", "method/init=zero_b").apply(net())
