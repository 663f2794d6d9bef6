"""What of a study is still to come: without it a page would look finished."""

from lowrank_bench.protocol.study import DUPLICATE, FINAL, TUNE, Study
from lowrank_bench.protocol.wording import listed


def missing(study: Study) -> list[str]:
    """One line a stage that is not done; empty for a study that is."""
    ledger = study.ledger
    rules = ledger.rules
    wanted = {
        TUNE: ("tuning runs", len(ledger.arms) * rules.trials * len(rules.tuning_seeds)),
        FINAL: ("finals", len(ledger.arms) * len(rules.fresh_seeds)),
        DUPLICATE: ("finals trained twice, for the noise floor", rules.duplicates),
    }
    said = []
    for stage, (name, number) in wanted.items():
        had = len(study.stage(stage))
        if had < number:
            said.append(f"Not finished: there are {had} of {number} {name}.")
    open_arms = [arm.name for arm in ledger.arms if arm.selected is None]
    if open_arms:
        said.append(f"No setting has been selected yet for {listed(open_arms)}.")
    return said
