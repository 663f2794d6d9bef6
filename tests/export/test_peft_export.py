"""An exported adapter is loaded by PEFT on a plain network, and computes what the run's did."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from export_runs import loss_of, recorded_loss
from peft import PeftModel
from safetensors.torch import load_file
from torch import nn

from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.export.export import export
from lowrank_bench.export.plain import load_plain

RECIPES = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
OWN_WEIGHTS = ["apollo", "apollo_mini", "bitfit", "fira", "full", "galore", "head"]
NO_BASE = ["ae", "cola", "lowrank", "sltrain"]
NO_PRODUCT = ["flora", "subspace"]
EXPRESSIBLE = [r for r in RECIPES if r not in [*OWN_WEIGHTS, *NO_BASE, *NO_PRODUCT]]
FEW = ["adalora", "boft", "dora", "lora", "lora_ga", "vera"]  # the others when there is time

Config = dict[str, Any]
Trained = Callable[..., Path]


def on_its_base(out: Path) -> tuple[nn.Module, Config]:
    """What somebody without our package's methods would do."""
    config = json.loads((out / "adapter_config.json").read_text())
    base = load_plain(config["base_model_name_or_path"])
    return PeftModel.from_pretrained(base, str(out), torch_device="cpu").eval(), config


@pytest.mark.filterwarnings("ignore:Failed to load the CUDA extension", "ignore:Setting boft_n")
@pytest.mark.parametrize(
    "recipe", [r if r in FEW else pytest.param(r, marks=pytest.mark.slow) for r in EXPRESSIBLE]
)
def test_peft_tests_as_well_as_the_run_did(trained: Trained, tmp_path: Path, recipe: str) -> None:
    calm = ("lr=0.005",) if recipe == "lora_plus" else ()  # its B learns 16 times as fast
    run = trained("pair=digits_halves", f"method={recipe}", *calm)
    done = export(run, "peft", tmp_path / "out")
    assert done.drift < 1e-5
    assert done.num_bytes == sum(f.stat().st_size for f in done.out.rglob("*") if f.is_file())
    model, config = on_its_base(done.out)
    assert config["modules_to_save"] == ["head"]  # began afresh, and trained whole
    assert loss_of(run, model) == pytest.approx(recorded_loss(run), 1e-5)
    assert loss_of(run, load_plain(done.out / "base")) > 1.5 * loss_of(run, model)


@pytest.mark.parametrize("init", ["pissa", "milora", "olora"])
def test_an_init_that_moves_the_base_is_told_on_the_original(
    trained: Trained, tmp_path: Path, init: str
) -> None:
    run = trained("pair=digits_halves", "method=lora", f"method/init={init}")
    out = export(run, "peft", tmp_path / "out").out
    model, config = on_its_base(out)
    assert (config["r"], config["lora_alpha"], config["use_dora"]) == (4, 4, False)  # 2 r, scale 1
    assert loss_of(run, model) == pytest.approx(recorded_loss(run), 1e-5)


def test_restarts_leave_a_lora_of_their_summed_rank_and_the_biases(
    trained: Trained, tmp_path: Path
) -> None:
    out = export(trained("pair=digits_halves", "method=relora"), "peft", tmp_path / "out").out
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["r"], config["bias"]) == (8, "lora_only")  # four corrections of rank 2
    found = load_file(out / "adapter_model.safetensors")
    assert "base_model.model.hidden.0.base_layer.bias" in found


def test_factors_that_stand_on_their_base_go_bit_for_bit_with_their_settings(
    trained: Trained, tmp_path: Path
) -> None:
    run = trained("pair=digits_halves", "method=rslora")
    out = export(run, "peft", tmp_path / "out").out
    config = json.loads((out / "adapter_config.json").read_text())
    assert (config["r"], config["lora_alpha"], config["use_rslora"]) == (2, 16, True)
    assert config["target_modules"] in (["0", "1"], ["1", "0"])
    state = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    found = load_file(out / "adapter_model.safetensors")
    for ours, theirs in (("A", "lora_A"), ("B", "lora_B")):
        expected = state[f"model.hidden.1.{ours}"]
        assert torch.equal(found[f"base_model.model.hidden.1.{theirs}.weight"], expected)


def test_pruned_triplets_are_left_out(trained: Trained, tmp_path: Path) -> None:
    run = trained("pair=digits_halves", "method=adalora")
    out = export(run, "peft", tmp_path / "out").out
    config = json.loads((out / "adapter_config.json").read_text())
    state = torch.load(run / "last.ckpt", weights_only=True)["state_dict"]
    kept = [int((state[f"model.hidden.{n}.lam"] != 0).sum()) for n in (0, 1)]
    found = load_file(out / "adapter_model.safetensors")
    ranks = [len(found[f"base_model.model.hidden.{n}.lora_A.weight"]) for n in (0, 1)]
    assert ranks == kept and sum(kept) == 4
    assert config["peft_type"] == "LORA"


def test_a_layer_without_one_triplet_left_adds_nothing(
    trained: Trained, tmp_path: Path, damaged: Callable[..., Path]
) -> None:
    def emptied(state: dict[str, torch.Tensor]) -> None:
        state["model.hidden.0.lam"].zero_()

    run = damaged(trained("pair=digits_halves", "method=adalora"), emptied)
    assert export(run, "peft", tmp_path / "out").drift < 1e-5


def test_dora_keeps_its_magnitude_on_an_original_base(trained: Trained, tmp_path: Path) -> None:
    run = trained("pair=digits_halves", "method=dora", "method/init=pissa")
    model, config = on_its_base(export(run, "peft", tmp_path / "out").out)
    assert config["use_dora"] and config["r"] == 4
    assert loss_of(run, model) == pytest.approx(recorded_loss(run), 1e-5)


def test_a_random_base_goes_along(trained: Trained, tmp_path: Path) -> None:
    """From scratch every layer is a target, the head too."""
    run = trained("data=digits", "method=vera", "base=scratch")
    model, config = on_its_base(export(run, "peft", tmp_path / "out").out)
    assert config["modules_to_save"] is None and config["save_projection"]
    assert loss_of(run, model) == pytest.approx(recorded_loss(run), 1e-5)


@pytest.mark.parametrize("precision", ["64-true", "bf16-true"])
def test_an_adapter_has_the_precision_of_its_run(
    trained: Trained, tmp_path: Path, precision: str
) -> None:
    run = trained("pair=digits_halves", "method=pissa", f"precision={precision}")
    done = export(run, "peft", tmp_path / "out")
    found = load_file(done.out / "adapter_model.safetensors")
    kind = torch.float64 if precision == "64-true" else torch.bfloat16
    assert {t.dtype for t in found.values()} == {kind}
    assert done.drift < (1e-12 if precision == "64-true" else 5e-2)


@pytest.mark.parametrize(
    ("recipe", "base", "why"),
    [
        *[(r, "pair=digits_halves", "trains the model's own weights") for r in OWN_WEIGHTS],
        *[(r, "data=digits", "in the place of the base's weight") for r in NO_BASE],
        *[(r, "pair=digits_halves", "is no product of two factors") for r in NO_PRODUCT],
    ],
)
def test_what_peft_cannot_express_is_one_line_that_says_what_can(
    trained: Trained, tmp_path: Path, recipe: str, base: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=f"^--to peft: .*{why}") as raised:
        export(trained(base, f"method={recipe}"), "peft", tmp_path / "out")
    assert ("say --to merged" in str(raised.value)) is (recipe != "cola")
    assert list(tmp_path.iterdir()) == []
