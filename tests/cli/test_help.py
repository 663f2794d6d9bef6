"""Help, the composed config and completion come quickly, since none of them loads torch."""

import pytest

HEAVY = ("torch", "lightning", "torchvision", "wandb", "sklearn", "polars")


def test_help_shows_knobs_groups_and_examples(composing, here):
    outcome = composing("--help")
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    examples = [line.strip() for line in lines if line.strip().startswith("lowrank-bench ")]
    assert len([line for line in examples if "=" in line]) >= 3
    assert any(line.startswith("lowrank-bench -m ") for line in examples)
    for knob in ("rank", "lr", "seed", "epochs", "precision", "run.dir"):
        assert any(line.strip().startswith(knob) for line in lines)
    unfolded = outcome.out.replace("\n" + " " * 8, " ").splitlines()
    choices = {name.strip(): rest for name, _, rest in (line.partition(": ") for line in unfolded)}
    assert {"ae", "full", "lora", "lowrank"} <= set(choices["method"].split(", "))
    assert {"adamw", "sgd"} <= set(choices["method/optimizer"].split(", "))
    assert "digits" in choices["data"]
    assert max(map(len, lines)) <= 100
    assert list(here.iterdir()) == []


def test_cfg_job_shows_the_composed_config_and_trains_nothing(composing, here):
    outcome = composing("--cfg", "job", "method=ae", "rank=3")
    assert (outcome.code, outcome.err) == (0, "")
    assert "rank: 3" in outcome.out.splitlines()
    assert "  name: ae" in outcome.out.splitlines()
    assert list(here.iterdir()) == []


@pytest.mark.parametrize("words", [["--help"], ["--cfg", "job"]], ids=" ".join)
def test_asking_takes_less_than_five_seconds_and_no_torch(fresh, words):
    outcome = fresh(*words, program=("-X", "importtime", "-m", "lowrank_bench"))
    assert outcome.code == 0
    loaded = {line.rpartition("|")[2].strip() for line in outcome.err.splitlines()}
    assert "hydra" in loaded
    assert not loaded & set(HEAVY)
    assert outcome.cpu_seconds < 5


def test_completion_can_be_installed(composing):
    outcome = composing("-sc", "install=bash")
    assert outcome.code == 0
    assert "complete " in outcome.out


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("method=low", {"method=lowrank"}),
        ("method=gal", {"method=galore"}),
        ("method/opt", {"method/optimizer="}),
        ("ra", {"rank="}),
        ("run.de", {"run.devices="}),
    ],
)
def test_completion_answers_with_choices_and_keys(composing, env, typed, answer):
    line = f"lowrank-bench {typed}"
    env |= {"COMP_LINE": line, "COMP_POINT": str(len(line))}
    outcome = composing("-sc", "query=bash")
    assert (outcome.code, outcome.err) == (0, "")
    assert set(outcome.out.split()) == answer
