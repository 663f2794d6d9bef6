"""Studies with planted truth: what each arm is worth, and what is wrong with some, is known."""

import json
import math
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

import numpy as np
import polars as pl

from lowrank_bench.protocol.ledger import Arm, Ledger, Rules, Trial
from lowrank_bench.protocol.study import DUPLICATE, FINAL, SCHEMA, TUNE, Study

RANKLESS = ("full", "head", "bitfit")
BASE = 0.85  # accuracy of an arm without a gain at its best learning rate
BEST_LR = 0.01
CONTROL = "c0ffee"
DENSE = 270_000  # parameters of full

# What may be wrong with an arm, by name
DEFECTS = (
    "budget",  # one trial less than the others
    "updates",  # half the updates in each run
    "edge",  # the best learning rate is the largest that was tried
    "two_lrs",  # as many trials, of two learning rates
    "two_seeds",  # only two finals
    "missing",  # one final never ran
    "diverged",  # one final diverged
    "failed",  # one final failed
    "other_seeds",  # its finals have seeds of their own
    "tuned_seed",  # a tuning seed among its finals
    "control",  # another control hash in one final
    "tested",  # test values in its tuning runs
    "receipts",  # a failed receipt in a final
    "untuned",  # no trial gave a result
)


def synthetic_study(
    *,
    methods: Sequence[str] = ("full", "lora", "dora"),
    ranks: Sequence[int] = (8,),
    gains: Mapping[str, float] | None = None,
    noise: float = 0.002,
    seed_effect: float = 0.004,
    seeds: int = 9,
    tuning_seeds: int = 3,
    num_lrs: int = 5,
    per_decade: int = 2,
    best_lrs: Mapping[str, float] | None = None,
    curvature: float = 0.04,
    diverges_above: float = math.inf,
    knobs: Mapping[str, tuple[str, Sequence[Any]]] | None = None,
    metric: str = "accuracy",
    margins: Mapping[str, float] | None = None,
    references: Sequence[str] = ("full",),
    duplicates: int = 0,
    duplicate_noise: float = 0.0005,
    source: bool = False,
    defects: Mapping[str, str] | None = None,
    rng: int = 0,
) -> Study:
    """A study whose truth is known.

    A final of an arm with its best learning rate has the metric
    BASE + gain + effect of its seed + noise; `gains` go by arm ("lora r8") or by method, in
    fractions, positive is better whatever the metric (a loss is 2 (1 - the same number)). The
    seed's effect is equal in all arms; `noise` is the SD of what is not, so that a paired
    difference has SD noise times sqrt(2). Away from the best learning rate, `curvature` is lost
    times the square of the distance in decades. `knobs` {method: (key, values)} are tried at the
    middle learning rate, out of the same budget (in the place of the outer learning rates).
    `defects` {arm: one of DEFECTS}.
    """
    draw = np.random.default_rng(rng)
    tuning = tuple(range(1, tuning_seeds + 1))
    fresh = tuple(range(101, 101 + seeds))
    effects = dict.fromkeys((*tuning, *fresh), 0.0)
    effects = {seed: seed_effect * draw.standard_normal() for seed in (*effects, *range(201, 240))}
    arms = [
        Arm(name, method, rank, [f"method={method}"] + ([] if rank is None else [f"rank={rank}"]))
        for method in methods
        for rank in ((None,) if method in RANKLESS else ranks)
        for name in [method if rank is None else f"{method} r{rank}"]
    ]
    rules = Rules(
        search="grid",
        trials=num_lrs,
        per_decade=per_decade,
        tuning_seeds=tuning,
        fresh_seeds=fresh,
        references=tuple(references),
        alpha=0.05,
        margins=dict(margins or {"accuracy": 0.005, "loss": 0.01}),
        duplicates=duplicates,
        first=num_lrs,
        centres={method: (best_lrs or {}).get(method, BEST_LR) for method in methods},
        knobs={method: {key: list(values)} for method, (key, values) in (knobs or {}).items()},
    )
    ledger = Ledger("synthetic", CONTROL, rules, arms, metric)
    defects = dict(defects or {})
    unknown = {*defects} - {arm.name for arm in arms} | {*defects.values()} - {*DEFECTS}
    assert not unknown, f"no such arm or defect: {unknown}"
    rows: list[dict[str, Any]] = []
    for arm in arms:
        gain = (gains or {}).get(arm.name, (gains or {}).get(arm.method, 0.0))
        best = rules.centres[arm.method]
        defect = defects.get(arm.name)
        if defect == "edge":
            best *= 10 ** (num_lrs / per_decade)

        def worth(setting: Mapping[str, Any], seed: int, gain: float = gain, best: float = best):
            lost = curvature * math.log10(setting["lr"] / best) ** 2 + 0.001 * (len(setting) > 1)
            value = BASE + gain - lost + effects[seed] + noise * draw.standard_normal()
            if metric == "accuracy":
                value = min(max(value, 0.1), 1.0)
            return value

        for i, setting in enumerate(_settings(arm.method, rules, defect, knobs or {})):
            runs = {seed: _fingerprint(arm.name, setting, seed) for seed in tuning}
            arm.trials.append(Trial(setting, runs))
            for seed, fingerprint in runs.items():
                value = worth(setting, seed)
                status = "diverged" if setting["lr"] > diverges_above else "finished"
                status = "failed" if defect == "untuned" else status
                row = _row(arm, defect, setting, seed, fingerprint, status, value, metric, draw)
                row |= {"stage": TUNE, "trial": i}
                if defect != "tested":
                    row |= {"selected_test_accuracy": None, "selected_test_loss": None}
                rows.append(row)
        arm.selected = _best(arm, rows, metric)
        if arm.selected is None:
            continue
        setting = arm.trials[arm.selected].setting
        given = {
            "two_seeds": fresh[:2],
            "other_seeds": tuple(range(201, 201 + seeds)),
            "tuned_seed": (tuning[0], *fresh[1:]),
        }.get(defect or "", fresh)
        arm.runs = {seed: _fingerprint(arm.name, setting, seed) for seed in given}
        for seed, fingerprint in arm.runs.items():
            is_last = seed == given[-1]
            status = defect if is_last and defect in ("diverged", "failed") else "finished"
            value = worth(setting, seed)
            row = _row(arm, defect, setting, seed, fingerprint, status, value, metric, draw)
            row |= {"stage": FINAL, "trial": arm.selected}
            if is_last and defect == "control":
                row["control_hash"] = "another"
            if is_last and defect == "receipts":
                row["num_failed_receipts"] = 1
            if source:
                row |= _source(value, draw)
            if not (is_last and defect == "missing"):
                rows.append(row)
            if len(ledger.duplicates) < duplicates and seed == given[0]:
                ledger.duplicates[arm.name] = seed
                moved = value + duplicate_noise * draw.standard_normal()
                rows.append(row | {"stage": DUPLICATE} | _metrics(moved, metric))
    return Study(ledger, pl.DataFrame(rows, schema=SCHEMA))


def _settings(
    method: str,
    rules: Rules,
    defect: str | None,
    knobs: Mapping[str, tuple[str, Sequence[Any]]],
) -> list[dict[str, Any]]:
    num, half = rules.trials, rules.trials // 2
    steps: list[float] = [i - half for i in range(num)]
    if defect == "budget":
        steps = steps[:-1]
    if defect == "two_lrs":
        steps = [i % 2 for i in range(num)]
    centre = rules.centres[method]
    middle = round(math.log10(centre) * rules.per_decade)  # so that methods have rates in common
    lrs = [float(f"{10 ** ((middle + step) / rules.per_decade):.3g}") for step in steps]
    key, values = knobs.get(method, ("", ()))
    extra = [{"lr": centre, key: value} for value in values]
    kept = sorted(lrs, key=lambda lr: abs(math.log(lr / centre)))[: len(lrs) - len(extra)]
    return [{"lr": lr} for lr in sorted(kept)] + extra


def _best(arm: Arm, rows: list[dict[str, Any]], metric: str) -> int | None:
    sign = -1 if metric == "loss" else 1
    means = {}
    for i in range(len(arm.trials)):
        mine = [row for row in rows if (row["arm"], row["trial"]) == (arm.name, i)]
        if all(row["status"] == "finished" for row in mine):
            means[i] = sign * sum(row[f"selected_val_{metric}"] for row in mine) / len(mine)
    return max(means, key=lambda i: means[i]) if means else None


def _fingerprint(arm: str, setting: Mapping[str, Any], seed: int) -> str:
    return sha256(f"{arm} {json.dumps(setting)} {seed}".encode()).hexdigest()[:16]


def _metrics(value: float, metric: str) -> dict[str, float]:
    """The other metric follows, so that both columns are there."""
    loss = 2 * (1 - value)
    parts = ("val", "test")
    values = {f"selected_{part}_accuracy": value for part in parts}
    values |= {f"selected_{part}_loss": loss for part in parts}
    return values


def _source(value: float, draw: np.random.Generator) -> dict[str, float]:
    kept = 0.9 - (value - 0.8) + 0.002 * draw.standard_normal()
    return {
        "before_source_accuracy": 0.9,
        "selected_source_accuracy": kept,
        "before_source_loss": 0.2,
        "selected_source_loss": 2 * (1 - kept),
    }


def _row(
    arm: Arm,
    defect: str | None,
    setting: Mapping[str, Any],
    seed: int,
    fingerprint: str,
    status: str,
    value: float,
    metric: str,
    draw: np.random.Generator,
) -> dict[str, Any]:
    per_rank = 4000 + 100 * len(arm.method)  # methods of one rank differ a little
    trainable = DENSE if arm.rank is None else per_rank * arm.rank
    updates = 430 if defect != "updates" else 215
    row = dict.fromkeys(SCHEMA) | {
        "arm": arm.name,
        "setting": json.dumps(dict(setting)),
        "method_label": arm.method,
        "rank": arm.rank,
        "lr": setting["lr"],
        "seed": seed,
        "fingerprint": fingerprint,
        "control_hash": CONTROL,
        "method_hash": _fingerprint(arm.name, setting, 0),
        "status": status,
        "num_failed_receipts": 0,
        "params_total": DENSE + (trainable if arm.rank else 0),
        "params_trainable": trainable,
        "num_updates": float(updates),
        "train_flops": 6.0 * updates * 128 * (trainable + DENSE / 2),
        "train_seconds": 2.0 + trainable / 2e5 + 0.1 * draw.standard_normal() ** 2,
        "optimizer_state_bytes": 8.0 * trainable,
        "weight_bytes": 4.0 * DENSE,
        "adapter_bytes": 4.0 * trainable,
        "peak_memory_bytes": 4.0 * DENSE + 16.0 * trainable,
        "device": "cpu",
    }
    if status == "finished":
        row |= {"selected_epoch": 1} | _metrics(value, metric)
    return row
