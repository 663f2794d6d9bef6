"""Synthetic records: small, and as a run would write them."""

import json
import math
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from lowrank_bench.record import RunRecord, Status

Write = Callable[..., Path]


def changed(components: float, *, target: float = 0.9, source: float = 0.8) -> dict[str, Any]:
    """What a run records of a change that takes `components` for 90 % of its spectrum."""
    measures = {
        "norm": 2.0,
        "relative_norm": 0.1,
        "rank": 2 * components,
        "stable_rank": components / 2 + 0.5,
        "effective_rank": 1.5 * components,
        "components_90": components,
    }
    layer = measures | {"start_norm": 20.0, "full_rank": 64}
    return {
        "summary": measures,
        "features": {"target": target, "source": source},
        "weights": {"hidden.0": layer, "head": layer},
        "seconds": 0.25,
    }


def of_language(loss: float, bytes_per_token: float = 4.0) -> dict[str, float]:
    """Perplexity and bits a byte of a loss in nats a token."""
    return {
        "perplexity": math.exp(loss),
        "bits_per_byte": loss / math.log(2) / bytes_per_token,
    }


def metrics(accuracy: float | None, epoch: int, *, test: bool = True) -> dict[str, dict[str, Any]]:
    loss = None if accuracy is None else round(2.3 * (1 - accuracy), 4)
    measured = {
        "train_loss": loss,
        "val_loss": loss,
        "val_accuracy": accuracy,
        "test_loss": loss if test else None,
        "test_accuracy": accuracy if test else None,
    }
    before = dict.fromkeys(measured, None) | {"test_accuracy": 0.1 if test else None}
    selected = measured | {"epoch": epoch, "rule": "best val_accuracy"}
    return {"final": measured, "selected": selected, "before": before}


def write(
    root: Path,
    *,
    method: str = "full",
    rank: int | None = None,
    lr: float = 0.001,
    seed: int = 0,
    status: Status = "finished",
    accuracy: float | None = 0.8,
    curve: list[float] | None = None,
    control: dict[str, Any] | None = None,
    control_hash: str = "c0ffee",
    method_hash: str | None = None,
    overrides: list[str] | None = None,
    trainable: int | None = 1000,
    error: dict[str, str] | None = None,
    test: bool = True,
    seconds: float = 12.5,
    env: dict[str, Any] | None = None,
    receipts: dict[str, dict[str, Any]] | None = None,
    source: tuple[float | None, float] | None = None,
    language: float | None = None,
    change: dict[str, Any] | None = None,
) -> Path:
    """`source` is an accuracy before and after; `language` a loss, which all parts then have."""
    method_hash = method_hash or f"{method}-{rank}-{lr}-{overrides}"
    fingerprint = f"{control_hash}-{method_hash}-{seed}"
    config = control or {"data": {"name": "fashion_mnist"}, "budget": {"epochs": 2}}
    curve = curve if curve is not None else ([0.1, accuracy, accuracy] if accuracy else [])
    folder = root / sha256(fingerprint.encode()).hexdigest()[:12]
    folder.mkdir(parents=True)
    record = RunRecord(
        status=status,
        error=error,
        fingerprint=fingerprint,
        control_hash=control_hash,
        method_hash=method_hash,
        seed=seed,
        name={
            "method": method,
            "data": "fashion_mnist",
            "model": "mlp",
            "base": "scratch",
            "rank": rank,
            "lr": lr,
        },
        config=config,
        overrides=overrides or [],
        params={"total": 669706, "trainable": trainable, "by_role": {}},
        metrics=metrics(accuracy, max(len(curve) - 1, 0), test=test),
        env=env or {"versions": {"torch": "2.15.0"}},
        receipts=receipts or {},
        change=change or {},
    )
    parts = ("test", "val", *(("source",) if source else ())) if test else ("val",)
    for moment, at in (("before", 0), ("selected", 1), ("final", 1)):
        section = record.metrics[moment]
        if source is not None:
            section |= {"source_accuracy": source[at], "source_loss": 1.0}
        if language is not None and (at or source):
            loss = language if at else language + 1
            told = {"loss": loss, "accuracy": 0.3, **of_language(loss)}
            section |= {f"{part}_{name}": value for part in parts for name, value in told.items()}
    record.cost["train_seconds"] = seconds
    record.write(folder)
    lines = [{"update": 5, "loss": 2.0}]
    for epoch, value in enumerate(curve):
        lines.append(
            {"epoch": epoch, "update": 10 * epoch, "val_accuracy": value, "lr": lr}
            | ({"test_accuracy": value} if test else {})
            | ({"val_loss": language - epoch + len(curve) - 1} if language else {})
        )
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder
