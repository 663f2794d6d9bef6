import polars as pl
from synthetic_study import synthetic_study

from lowrank_bench.protocol.compare import comparisons
from lowrank_bench.protocol.study import Study
from lowrank_bench.protocol.verdicts import sentence, verdicts

METHODS = ("full", "lora", "dora", "pissa")


def test_the_first_sentence_names_the_best_and_who_ties_with_it() -> None:
    study = synthetic_study(methods=METHODS, gains={"lora": 0.02, "dora": 0.02}, rng=1)
    first = verdicts(study)[0]
    names = {"lora r8", "dora r8"}
    best = next(name for name in names if first.startswith(f"{name} has the best mean: "))
    assert f"; {(names - {best}).pop()} ties with it: no difference could be shown." in first
    assert "(95 % interval " in first and ", 9 seeds)" in first


def test_without_ties_it_says_so() -> None:
    first = verdicts(synthetic_study(gains={"lora": 0.03}))[0]
    assert first.startswith("lora r8 has the best mean")
    assert first.endswith("; no other ranked arm ties with it.")


def test_each_reference_has_its_count_and_its_best_rival() -> None:
    gains = {"lora": 0.03, "dora": 0.0, "pissa": -0.03}
    study = synthetic_study(methods=METHODS, gains=gains, noise=0.001)
    lines = verdicts(study)
    at = lines.index(
        "Against full, of 3 arms: 1 better (lora r8), 1 equivalent (dora r8), 1 worse (pissa r8)."
    )
    assert lines[at + 1].startswith("lora r8 against full: +")
    assert lines[at + 1].endswith("better, real.")


def test_a_comparison_is_a_sentence_with_interval_seeds_and_p() -> None:
    study = synthetic_study(methods=("full", "lora"), gains={"lora": -0.003}, noise=0.0)
    row = comparisons(study).row(0, named=True)
    assert sentence(row, study) == (
        "lora r8 against full: -0.30 points (95 % interval -0.30 to -0.30, 9 seeds, Holm p 0.0039)"
        ": worse, real, but smaller than the margin of 0.50 points."
    )


def test_of_a_loss_it_speaks_of_nats_and_positive_is_better() -> None:
    study = synthetic_study(
        methods=("full", "lora"), gains={"lora": 0.01}, noise=0.0, metric="loss"
    )
    row = comparisons(study).row(0, named=True)
    assert sentence(row, study).startswith("lora r8 against full: +0.0200 nats (95 % interval")
    assert "has the best mean: 0." in verdicts(study)[0] and " nats (" in verdicts(study)[0]


def test_every_refused_arm_is_named_with_its_reasons() -> None:
    study = synthetic_study(defects={"dora r8": "edge"})
    lines = verdicts(study)
    assert (
        "dora r8 is not ranked: its best learning rate, 0.1, is the largest that was tried."
        in lines
    )
    assert not any(line.startswith("dora r8 has") for line in lines)


def test_it_says_what_was_stated_beforehand_and_what_cannot_be_claimed() -> None:
    lines = verdicts(synthetic_study(methods=METHODS, seeds=6))
    assert lines[0] == "No arm is ranked: no claim can be made."
    assert "Against full: nothing could be tested." in lines
    assert any(
        line.startswith("6 fresh seeds cannot show") and line.endswith("7 would do.")
        for line in lines
    )
    enough = verdicts(synthetic_study(methods=METHODS))
    assert not any("cannot show" in line for line in enough)
    stated = (
        "Differences within 0.50 points count as equivalent, as was said before anything trained."
    )
    assert stated in lines and stated in enough


def test_flips_and_the_noise_floor_are_said() -> None:
    text = " ".join(verdicts(synthetic_study(duplicates=2)))
    assert "common rates that the tuned winner tried another arm would have won" in text
    assert "The noise floor is 0." in text


def test_a_study_that_has_not_begun_claims_nothing() -> None:
    study = synthetic_study()
    study.ledger.metric = None
    for arm in study.ledger.arms:
        arm.selected, arm.trials, arm.runs = None, [], {}
    lines = verdicts(Study(study.ledger, study.runs.clear()))
    assert lines[0] == "No arm is ranked: no claim can be made."
    assert "The noise floor was not measured: no run has been tested." in lines


def test_no_sentence_has_a_number_that_is_not_one() -> None:
    for study in (
        synthetic_study(),
        synthetic_study(seeds=1),
        synthetic_study(noise=0.0),
        synthetic_study(defects={"full": "untuned"}),
    ):
        text = " ".join(verdicts(study))
        assert "nan" not in text and "None" not in text


def test_tables_at_hand_are_used() -> None:
    study = synthetic_study(methods=("full", "lora"))
    table = comparisons(study).with_columns(verdict=pl.lit("better"))
    assert "Against full, of one arm: 1 better (lora r8)." in verdicts(study, table=table)
