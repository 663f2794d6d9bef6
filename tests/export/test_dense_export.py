"""Merged weights and differences: plain tensors that compute what the run's network did."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from export_runs import loss_of, recorded_loss
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.export.export import export
from lowrank_bench.export.plain import load_plain

Trained = Callable[..., Path]

RECIPES = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
FROM_SCRATCH = ["ae", "lowrank", "sltrain"]  # no base could enter these as they are
FEW = ["adalora", "boft", "dora", "full", "ia3", "lora", "sltrain", "subspace"]
PAIR = "pair=digits_halves"


def some(recipes: list[str]) -> list:
    return [r if r in FEW else pytest.param(r, marks=pytest.mark.slow) for r in recipes]


@pytest.mark.filterwarnings("ignore:Failed to load the CUDA extension", "ignore:Setting boft_n")
@pytest.mark.parametrize("recipe", some([r for r in RECIPES if r != "cola"]))
def test_a_merged_network_tests_as_well_as_the_run_did(
    trained: Trained, tmp_path: Path, recipe: str
) -> None:
    run = trained("data=digits" if recipe in FROM_SCRATCH else PAIR, f"method={recipe}")
    done = export(run, "merged", tmp_path / "out")
    model = load_plain(done.out)
    assert {type(m) for m in model.modules() if hasattr(m, "weight")} == {nn.Linear}
    assert loss_of(run, model) == pytest.approx(recorded_loss(run), 1e-5)
    assert sorted(f.name for f in done.out.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.filterwarnings("ignore:Failed to load the CUDA extension", "ignore:Setting boft_n")
@pytest.mark.parametrize("recipe", some([r for r in RECIPES if r not in [*FROM_SCRATCH, "cola"]]))
def test_the_base_and_the_difference_test_as_well_as_the_run_did(
    trained: Trained, tmp_path: Path, recipe: str
) -> None:
    run = trained(PAIR, f"method={recipe}")
    out = export(run, "dense-delta", tmp_path / "out").out
    model = load_plain(out / "base")
    delta = load_file(out / "delta.safetensors")
    own = dict(model.named_parameters())
    with torch.no_grad():
        for name, change in delta.items():
            assert change.any()
            own[name].add_(change)
    assert loss_of(run, model) == pytest.approx(recorded_loss(run), 1e-5)


def test_a_difference_says_what_it_is_of_and_holds_only_what_changed(
    trained: Trained, tmp_path: Path
) -> None:
    run = trained(PAIR, "method=bitfit")
    out = export(run, "dense-delta", tmp_path / "out").out
    record = json.loads((run / "record.json").read_text())
    with safe_open(out / "delta.safetensors", "pt") as file:
        assert sorted(file.keys()) == ["head.bias", "head.weight", "hidden.0.bias", "hidden.1.bias"]
        about = file.metadata()
    assert about["fingerprint"] == record["fingerprint"]
    assert about["base"] == record["base"]["weights_checksum"]
    assert (about["method"], about["rank"]) == ("bitfit", "None")


def test_the_selected_checkpoint_is_what_goes_out(trained: Trained, tmp_path: Path) -> None:
    run = trained(PAIR, "method=lora", "budget.selection=best_val_accuracy", "epochs=4", "lr=0.3")
    record = json.loads((run / "record.json").read_text())
    assert record["metrics"]["selected"]["epoch"] < 4  # so that the last is another
    model = load_plain(export(run, "merged", tmp_path / "out").out)
    assert loss_of(run, model) == pytest.approx(recorded_loss(run), 1e-5)


def test_a_bank_of_one_merges_and_one_of_more_does_not(trained: Trained, tmp_path: Path) -> None:
    run = trained(PAIR, "method=flora", "method.adapter.num_adapters=2")
    for to in ("merged", "dense-delta"):
        with pytest.raises(ConfigError, match=f"^--to {to}: FLoRABank at 'hidden.0' .*no one"):
            export(run, to, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("recipe", "to", "why"),
    [
        ("cola", "merged", "CoLALinear at 'hidden.0' computes what no one dense weight does"),
        ("cola", "dense-delta", "computes what no one dense weight does"),
        ("lowrank", "dense-delta", "FactorisedLinear at 'hidden.0' has no base .*--to merged"),
        ("sltrain", "dense-delta", "SLTrainLinear at 'hidden.0' has no base .*--to merged"),
    ],
)
def test_what_no_dense_weight_stands_for_is_one_line(
    trained: Trained, tmp_path: Path, recipe: str, to: str, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        export(trained("data=digits", f"method={recipe}"), to, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "holds no config.json"),
        ("{", "holds no config.json"),
        ("[]", "holds no config.json"),
        (
            '{"_target_": "os.system", "command": "true"}',
            "os.system is no plain network of this package",
        ),
        (
            '{"_target_": "lowrank_bench.export.folder.os.system", "command": "true"}',
            "os.system is no plain network of this package",
        ),
        (
            '{"_target_": "lowrank_bench.models.hf.causal_lm", "trust_remote_code": true}',
            "causal_lm is no plain network of this package",
        ),
        (
            '{"_target_": "lowrank_bench.models.mlp.MLP", "hidden": {"_target_": "os.getcwd"}}',
            "MLP is no plain network of this package",
        ),
    ],
)
def test_only_our_own_networks_are_built_from_a_folder(
    tmp_path: Path, content: str | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError, match=why):
        load_plain(tmp_path)
