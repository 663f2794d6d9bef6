"""Which arms a study may rank, and what stands against the others."""

from collections import Counter
from itertools import groupby
from typing import Any

import polars as pl

from lowrank_bench.protocol.ledger import Rules
from lowrank_bench.protocol.seeds_needed import seeds_needed
from lowrank_bench.protocol.study import FINAL, TUNE, Study
from lowrank_bench.protocol.tuning import sensitivity, trials
from lowrank_bench.protocol.wording import listed, plural

FEWEST_LRS = 3  # 2602.04998's definition of "tuned"

Row = dict[str, Any]

STANDING = pl.Schema({"arm": pl.String, "ranked": pl.Boolean, "reasons": pl.List(pl.String)})


def standing(study: Study) -> pl.DataFrame:
    """One row an arm: whether it is ranked, and each reason against it in one line."""
    rules, metric = study.ledger.rules, study.ledger.metric
    num_comparisons = len(study.ledger.comparisons())
    needed = seeds_needed(num_comparisons, rules.alpha)
    tested = pl.lit(False)
    for name in ("selected_test_accuracy", "selected_test_loss"):
        tested = tested | pl.col(name).is_not_null()
    has_test = pl.col(study.test).is_not_null() if metric else pl.lit(False)
    columns = ("arm", "stage", "seed", "status", "num_updates", "num_failed_receipts")
    table = study.runs.filter(pl.col("stage").is_in([TUNE, FINAL])).select(
        *columns,
        (pl.col("control_hash") == study.ledger.control_hash).alias("is_control"),
        tested.alias("tested"),
        has_test.alias("has_test"),
    )
    runs = {
        name: list(rows)
        for name, rows in groupby(
            table.sort("arm", "stage", "seed").to_dicts(), lambda row: row["arm"]
        )
    }
    tried = trials(study)
    usual, better = _usual_updates(runs), _better_trials(tried, study.ledger.sign)
    rows = []
    for arm, tuned in zip(study.ledger.arms, sensitivity(study, tried).to_dicts(), strict=True):
        mine = runs.get(arm.name, [])
        tune = [row for row in mine if row["stage"] == TUNE]
        final = [row for row in mine if row["stage"] == FINAL]
        reasons = [
            *_of_tuning(tuned, better.get(arm.name)),
            *_of_budget(tuned, tune, rules),
            *_of_updates(mine, usual),
            *_of_control(mine),
            *_of_test_data(tune),
        ]
        if arm.selected is not None:
            reasons += _of_seeds(final, rules)
            reasons += _of_finals(final, needed, num_comparisons)
        rows.append({"arm": arm.name, "ranked": not reasons, "reasons": reasons})
    return pl.DataFrame(rows, schema=STANDING, orient="row")


def _of_tuning(tuned: Row, better: str | None) -> list[str]:
    if tuned["best_setting"] is None:
        return ["not tuned: no trial was selected"]
    reasons = []
    if tuned["num_lrs"] < FEWEST_LRS:
        tried = plural(tuned["num_lrs"], "learning rate")
        reasons.append(f"{tried} tried, where {FEWEST_LRS} are the least")
    if tuned["on_edge"]:
        end = {"low": "smallest", "high": "largest"}[tuned["on_edge"]]
        lr = f"{tuned['best_lr']:.3g}"
        reasons.append(f"its best learning rate, {lr}, is the {end} that was tried")
    if better is not None:
        reasons.append(f"the setting {better} was better on validation than the selected one")
    return reasons


def _of_budget(tuned: Row, tune: list[Row], rules: Rules) -> list[str]:
    if tuned["num_trials"] != rules.trials:
        return [
            f"tuned over {plural(tuned['num_trials'], 'trial')}, where each arm has {rules.trials}"
        ]
    wanted = rules.trials * len(rules.tuning_seeds)
    results = sum(row["status"] in ("finished", "diverged") for row in tune)
    if results != wanted:
        return [f"{plural(results, 'tuning run')} gave a result, where each arm has {wanted}"]
    return []


def _of_updates(mine: list[Row], usual: float | None) -> list[str]:
    """Of runs that finished: one that diverged was stopped."""
    own = {row["num_updates"] for row in mine if row["status"] == "finished"} - {None, usual}
    if not own:
        return []
    each = listed([f"{updates:.0f}" for updates in sorted(own)])
    return [f"runs of {each} updates, where the others have {usual:.0f}"]


def _of_control(mine: list[Row]) -> list[str]:
    others = sum(not row["is_control"] for row in mine)
    return [f"another control in {others} of its {plural(len(mine), 'run')}"] if others else []


def _of_test_data(tune: list[Row]) -> list[str]:
    touched = sum(row["tested"] for row in tune)
    return [f"test data were touched in {plural(touched, 'tuning run')}"] if touched else []


def _of_seeds(final: list[Row], rules: Rules) -> list[str]:
    seeds = {row["seed"] for row in final}
    fresh, tuning = set(rules.fresh_seeds), set(rules.tuning_seeds)
    reasons = []
    if seeds & tuning:
        reasons.append(f"finals on tuning seeds: {_numbers(seeds & tuning)}")
    if seeds - fresh - tuning:
        reasons.append(f"finals on seeds that the others do not have: {_numbers(seeds - fresh)}")
    if fresh - seeds:
        reasons.append(f"no finals on seeds {_numbers(fresh - seeds)}")
    return reasons


def _of_finals(final: list[Row], needed: int, num_comparisons: int) -> list[str]:
    reasons = []
    states = Counter(row["status"] for row in final)
    for state in sorted(set(states) - {"finished"}):
        reasons.append(f"{states[state]} of {plural(len(final), 'final')} {_ended(state)}")
    finished = [row for row in final if row["status"] == "finished"]
    untested = sum(not row["has_test"] for row in finished)
    if untested:
        reasons.append(f"{untested} of {plural(len(final), 'final')} without a test value")
    good = len(finished) - untested
    if good < needed:
        family = plural(num_comparisons, "comparison")
        verb = "needs" if num_comparisons == 1 else "need"
        reasons.append(f"{plural(good, 'fresh seed')}, where {family} {verb} {needed}")
    failed = sum((row["num_failed_receipts"] or 0) > 0 for row in final)
    if failed:
        reasons.append(f"receipts failed in {failed} of {plural(len(final), 'final')}")
    return reasons


def _ended(state: str) -> str:
    return {"diverged": "diverged", "failed": "failed", "oom": "ran out of memory"}.get(
        state, f"ended as {state}"
    )


def _numbers(seeds: set[int]) -> str:
    return listed([str(seed) for seed in sorted(seeds)])


def _usual_updates(runs: dict[str, list[Row]]) -> float | None:
    """What most arms have in a run; of equally many, the most updates."""
    counts: Counter[float] = Counter()
    for mine in runs.values():
        counts.update({row["num_updates"] for row in mine if row["status"] == "finished"} - {None})
    return max(counts, key=lambda updates: (counts[updates], updates)) if counts else None


def _better_trials(table: pl.DataFrame, sign: int) -> dict[str, str]:
    """Of arms whose finals have not the setting that validation favours, the one it does."""
    found: dict[str, str] = {}
    score = sign * pl.col("mean")
    whole = table.filter(pl.col("n") == pl.col("n_wanted")).with_columns(score=score)
    for arm, rows in groupby(whole.to_dicts(), lambda row: row["arm"]):
        mine = list(rows)
        selected = [row["score"] for row in mine if row["selected"]]
        best = max(mine, key=lambda row: row["score"])
        if selected and best["score"] > selected[0]:
            found[arm] = best["setting"]
    return found
