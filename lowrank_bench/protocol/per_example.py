"""Each comparison example by example: on how many of them the two really differ."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from scipy import stats

from lowrank_bench.predictions import read_predictions
from lowrank_bench.protocol.finals import finals
from lowrank_bench.protocol.study import Study

Row = dict[str, Any]
Answers = dict[int, np.ndarray]  # {seed: (examples,)}

PER_EXAMPLE = pl.Schema(
    {
        "reference": pl.String,
        "arm": pl.String,
        "seeds": pl.Int64,  # that both have predictions of
        "examples": pl.Int64,
        "mean_diff": pl.Float64,  # over examples of the mean over seeds; positive is better
        "low": pl.Float64,  # 95 % interval, normal over examples
        "high": pl.Float64,
        "only_arm": pl.Int64,  # right alone, counted over all examples and seeds
        "only_reference": pl.Int64,
        "mcnemar_p_median": pl.Float64,  # over seeds, of the exact test
    }
)


def per_example(study: Study, folder: Path | None = None) -> pl.DataFrame:
    """One row a comparison whose finals kept predictions; columns PER_EXAMPLE.

    Its interval is of other test examples for these trained models; that of `comparisons` is of
    other seeds on these examples. `folder` is what relative paths of records are relative to.
    The counts and McNemar's test are of examples that are right or wrong, so null of sequences.
    """
    found: dict[str, Answers] = {arm.name: {} for arm in study.ledger.arms}
    for arm, seed, path in finals(study).select("arm", "seed", "path").iter_rows():
        answers = _answers(study, Path(path), folder) if path else None
        if answers is not None:
            found[arm][seed] = answers
    rows = []
    for reference, arm in study.ledger.comparisons():
        mine, other = found[arm], found[reference]
        seeds = [s for s in mine if s in other and mine[s].shape == other[s].shape]
        if seeds:
            row = _row([mine[s] for s in seeds], [other[s] for s in seeds])
            rows.append({"reference": reference, "arm": arm, "seeds": len(seeds)} | row)
    return pl.DataFrame(rows, schema=PER_EXAMPLE, orient="row")


def _answers(study: Study, path: Path, folder: Path | None) -> np.ndarray | None:
    """(examples,) of what was compared, so that more is better; None without predictions."""
    kept = read_predictions((folder / path if folder else path).parent)
    if kept is None:
        return None
    if study.ledger.metric == "loss":
        return -kept["loss"].astype(float) if "loss" in kept else None
    return kept.get("correct")


def _row(mine: list[np.ndarray], other: list[np.ndarray]) -> Row:
    each = np.mean([a.astype(float) - b for a, b in zip(mine, other, strict=True)], axis=0)
    num = len(each)
    row: Row = {"examples": num, "mean_diff": float(each.mean()) if num else None}
    if num > 1:
        half = stats.norm.ppf(0.975) * each.std(ddof=1) / np.sqrt(num)
        row |= {"low": float(each.mean() - half), "high": float(each.mean() + half)}
    if all(a.dtype == np.bool_ for a in (*mine, *other)):
        alone = [int(np.sum(a & ~b)) for a, b in zip(mine, other, strict=True)]
        reference_alone = [int(np.sum(b & ~a)) for a, b in zip(mine, other, strict=True)]
        p = [_mcnemar(a, b) for a, b in zip(alone, reference_alone, strict=True)]
        row |= {"only_arm": sum(alone), "only_reference": sum(reference_alone)}
        row["mcnemar_p_median"] = float(np.median(p))
    return row


def _mcnemar(a: int, b: int) -> float:
    """Exact: of the examples that only one got right, either is as likely (McNemar 1947)."""
    return float(stats.binomtest(a, a + b).pvalue) if a + b else 1.0
