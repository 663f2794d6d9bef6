"""Convolutions: loralib's correction is another matrix than PEFT's, and goes out all the same."""

from collections.abc import Callable
from pathlib import Path

import pytest
from export_runs import loss_of, recorded_loss
from peft import PeftModel
from safetensors.torch import load_file

from lowrank_bench.errors import ConfigError
from lowrank_bench.export.export import export
from lowrank_bench.export.from_runs import adapter_of
from lowrank_bench.export.plain import load_plain

Trained = Callable[..., Path]
BRIEF = ("budget.updates_per_epoch=2", "base.budget.updates_per_epoch=2", "base.epochs=1")


@pytest.mark.slow
def test_an_adapted_resnet_goes_out_in_all_three_forms(trained: Trained, tmp_path: Path) -> None:
    run = trained(
        *("pair=digits_halves", "model=resnet", "method=lora", "logger=local", *BRIEF),
        *("rank=2", "epochs=1"),
    )
    peft, merged, delta = (
        export(run, to, tmp_path / to).out for to in ("peft", "merged", "dense-delta")
    )
    adapted = PeftModel.from_pretrained(load_plain(peft / "base"), str(peft), torch_device="cpu")
    changed = load_plain(delta / "base")
    tensors = changed.state_dict()
    for name, change in load_file(delta / "delta.safetensors").items():
        tensors[name] += change
    for model in (adapted, load_plain(merged), changed):
        assert loss_of(run, model) == pytest.approx(recorded_loss(run), 1e-4)
    with pytest.raises(ConfigError, match="'conv1' cannot be switched"):
        adapter_of(run)
