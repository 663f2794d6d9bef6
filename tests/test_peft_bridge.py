from collections.abc import Callable
from functools import partial
from io import BytesIO
from typing import Any

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lowrank_bench import load_method
from lowrank_bench.callbacks.starts import dense_weights, start_receipts
from lowrank_bench.errors import ConfigError
from lowrank_bench.layers.lora import LoRALinear
from lowrank_bench.method import Method
from lowrank_bench.peft_bridge import adapt, tuner_of
from lowrank_bench.peft_bridge.orthogonality import Orthogonality
from lowrank_bench.peft_bridge.tuners import all_tuners
from lowrank_bench.roles import count_by_role, role_of
from lowrank_bench.start import DRIFT

pytestmark = pytest.mark.reference

NAMES = ["0", "2", "4"]
ADAPT = "method.adapter.config"
# What a tuner needs on layers as narrow as these, or to begin as its base.
NEEDS: dict[str, dict[str, Any]] = {
    "C3AConfig": {"block_size": 2, "init_weights": True},
    "FourierFTConfig": {"n_frequency": 20, "init_weights": True},
    "RoadConfig": {"group_size": 2},
    "SupertuningConfig": {"sparsity": 0.5},
    "VBLoRAConfig": {"vector_length": 2, "num_vectors": 16},
    "WaveFTConfig": {"n_frequency": 20},
}
MOVES_THE_START = ("UniLoraConfig", "VBLoRAConfig")
NOT_LINEAR = ("LilyConfig",)
ACT = [name for name, reason in all_tuners() if reason is None]
DO_NOT = [name for name, reason in all_tuners() if reason is not None]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 4)
    )


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(32, 8, generator=generator), torch.arange(32) % 4


def bridged(name: str, *more: str, seed: int = 0) -> Method:
    """`method=peft` with a config class and its fields, as the command line has it."""
    fields = [f"+{ADAPT}.{key}={value}" for key, value in NEEDS.get(name, {}).items()]
    same = [f"method.adapter.same_start={str(name not in MOVES_THE_START).lower()}"]
    overrides = [f"{ADAPT}._target_=peft.{name}", "rank=2", "lr=0.01", *fields, *same, *more]
    return load_method("peft", overrides, seed=seed)


class Run:
    """A method on a small network, update by update."""

    def __init__(self, method: Method, num_updates: int) -> None:
        self.method, self.update = method, 0
        self.model = method.apply(net())
        self.optimizer = method.optimizer(self.model)
        self.schedule = method.schedule(self.optimizer, num_updates)

    def advance(self, updates: int) -> "Run":
        x, y = batch()
        for _ in range(updates):
            torch.manual_seed(self.update)  # PVeRA draws in training, as dropout does
            self.optimizer.zero_grad()
            (F.cross_entropy(self.model(x), y) + self.method.penalty(self.model)).backward()
            self.method.hooks.before_step(self.model, self.optimizer, self.update)
            self.optimizer.step()
            self.schedule.step()
            self.method.hooks.after_step(self.model, self.optimizer, self.update)
            self.method.hooks.step_end(self.model, self.optimizer, self.update)
            self.update += 1
        return self

    def state(self) -> dict[str, Any]:
        """Through a file, as a checkpoint goes."""
        file = BytesIO()
        torch.save(
            {"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}, file
        )
        file.seek(0)
        return torch.load(file, weights_only=True)

    def resume(self, state: dict[str, Any], update: int) -> "Run":
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.update = update
        return self


# Every tuner


def test_there_are_tuners_of_both_kinds() -> None:
    assert {"LoraConfig", "AdaLoraConfig", "LoHaConfig", "OFTConfig", "VeraConfig"} <= set(ACT)
    assert {"PromptTuningConfig", "PrefixTuningConfig", "XLoraConfig"} <= set(DO_NOT)


@pytest.mark.parametrize("name", ACT)
def test_each_tuner_adapts_trains_and_resumes(name: str) -> None:
    run = Run(bridged(name), 6)
    model = run.model
    assert type(model) is nn.Sequential
    for target in NAMES:
        layer = model.get_submodule(target)
        assert type(layer) is not nn.Linear
        assert layer.mergeable is (name not in NOT_LINEAR)
        assert (layer.start_drift <= DRIFT) is (name not in MOVES_THE_START)  # type: ignore
    trained = {n for n, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert not any(n.endswith(("base_layer.weight", "base_layer.bias")) for n in trained)
    for n in trained:  # the role is what the tuner calls the part of its layer
        assert role_of(model, n) == n.split(".")[1]
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    state = run.advance(3).state()
    moved = {role_of(model, n) for n, p in model.named_parameters() if not p.equal(before[n])}
    assert moved == {role_of(model, n) for n in trained}
    once = run.advance(3).model.state_dict()
    again = Run(bridged(name), 6).resume(state, 3).advance(3).model.state_dict()
    assert all(torch.equal(once[key], again[key]) for key in once)


@pytest.mark.parametrize("name", [name for name in ACT if name not in NOT_LINEAR])
def test_the_dense_weight_computes_what_the_layer_does(name: str) -> None:
    model = Run(bridged(name), 6).advance(5).model.eval()
    x = torch.randn(9, 8)
    weights = dense_weights(model)
    assert list(weights) == NAMES
    layer = model.get_submodule("0")
    with torch.no_grad():
        difference = layer(x) - x @ weights["0"].T  # the bias, whatever the tuner did to it
    torch.testing.assert_close(difference, difference[:1].expand_as(difference))
    before = model(x)
    layer.merge_()  # type: ignore[operator]
    torch.testing.assert_close(model(x), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", DO_NOT)
def test_what_does_not_act_on_linear_layers_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"{ADAPT}\._target_=peft\.{name}: .*not|none"):
        bridged(name).apply(net())


def test_a_layer_that_looks_at_all_rows_has_no_dense_weight() -> None:
    layer: Any = bridged("LilyConfig").apply(net()).get_submodule("0")
    for act in (layer.effective_weight, layer.merge_):
        with pytest.raises(TypeError, match="no dense weight"):
            act()


# LoRA, against our own


def test_the_lora_of_peft_computes_and_learns_as_ours() -> None:
    theirs, ours = nn.Linear(6, 5), nn.Linear(6, 5)
    ours.load_state_dict(theirs.state_dict())
    model = adapt(
        nn.Sequential(theirs), ["0"], config=partial(peft.LoraConfig, lora_alpha=6), rank=3
    )
    layer: Any = model.get_submodule("0")
    mine = LoRALinear(ours, 3, alpha=6, dropout=0)
    A, B = torch.randn(3, 6), torch.randn(5, 3)
    with torch.no_grad():
        for factor, value in ((layer.lora_A, A), (layer.lora_B, B)):
            factor["default"].weight.copy_(value)
        mine.A.copy_(A)
        mine.B.copy_(B)
    x = torch.randn(7, 6)
    torch.testing.assert_close(layer(x), mine(x))
    torch.testing.assert_close(layer.effective_weight(), mine.effective_weight().detach())
    for output in (layer(x), mine(x)):
        output.square().sum().backward()
    torch.testing.assert_close(layer.lora_A["default"].weight.grad, mine.A.grad)
    torch.testing.assert_close(layer.lora_B["default"].weight.grad, mine.B.grad)


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


# AdaLoRA's allocator and penalty


def plain_adalora(num_updates: int) -> tuple[nn.Module, Any]:
    """AdaLoRA as a script without us would train it, by get_peft_model."""
    config = peft.AdaLoraConfig(
        target_modules=NAMES, target_r=2, init_r=3, tinit=2, tfinal=3, total_step=num_updates
    )
    wrapped = peft.get_peft_model(net(), config)  # type: ignore[arg-type]
    return wrapped.base_model.model, wrapped.base_model  # type: ignore[return-value]


PHASES = (f"+{ADAPT}.tinit=2", f"+{ADAPT}.tfinal=3")


def test_adalora_allocates_as_in_a_script_of_pefts() -> None:
    num_updates = 13
    run = Run(bridged("AdaLoraConfig", *PHASES), num_updates)
    model, tuner = plain_adalora(num_updates)
    model.load_state_dict(run.model.state_dict())
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], lr=0.01, weight_decay=0
    )
    x, y = batch()
    for update in range(num_updates):
        run.advance(1)
        optimizer.zero_grad()
        F.cross_entropy(model(x), y).backward()
        optimizer.step()
        tuner.update_and_allocate(update)
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(run.model.get_parameter(name), parameter)
    (hook,) = run.method.hooks.hooks.values()
    receipts = hook.receipts(run.model)
    assert receipts["peft_tuner"]["value"] == "AdaLoraConfig"
    assert sum(receipts["rank_budget"]["value"].values()) == 2 * len(NAMES)


@pytest.mark.parametrize("saved_at", [1, 5, 10, 11, 12])  # before, between and after the masks
def test_a_resumed_adalora_equals_an_uninterrupted_one(saved_at: int) -> None:
    run = Run(bridged("AdaLoraConfig", *PHASES), 13)
    state = run.advance(saved_at).state()
    once = run.advance(13 - saved_at).model.state_dict()
    resumed = Run(bridged("AdaLoraConfig", *PHASES), 13).resume(state, saved_at)
    again = resumed.advance(13 - saved_at).model.state_dict()
    assert all(torch.equal(once[key], again[key]) for key in once)


def test_phases_that_leave_no_time_to_allocate_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"tinit=2, tfinal=3: leave none of the 5 updates"):
        Run(bridged("AdaLoraConfig", *PHASES), 5).advance(1)


def test_the_orthogonality_is_what_peft_adds_to_a_loss_of_its_own() -> None:
    method = bridged("AdaLoraConfig", "method/penalty=peft_orthogonality")
    model = method.apply(net())

    class Output:
        loss: Tensor = torch.zeros(())

    tuner = tuner_of(model)
    model.forward = lambda x: Output()  # type: ignore[method-assign]
    expected = tuner(batch()[0]).loss
    found = method.penalty(model)
    assert isinstance(found, Tensor)
    torch.testing.assert_close(found, expected)
    assert found > 0


def test_the_orthogonality_of_another_adapter_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"is for peft\.AdaLoraConfig alone"):
        Orthogonality()(bridged("LoraConfig").apply(net()))


# Runs


@pytest.mark.parametrize("recipe", ["loha", "lokr", "oft", "boft", "ia3", "randlora", "hira"])
def test_each_recipe_of_peft_trains_in_a_run(fit: Callable[..., Any], recipe: str) -> None:
    task, rows = fit(f"method={recipe}")
    assert task.update == 40
    assert any("val_loss" in row for row in rows)
    before = {n: p for n, p in task.model.named_parameters() if p.requires_grad}
    assert all(p.grad is not None and p.grad.any() for p in before.values())
