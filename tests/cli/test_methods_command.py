"""`lowrank-methods` answers without torch, in 80 columns."""

import sys
from pathlib import Path

import pytest
import yaml

from lowrank_bench.catalogue import SLOTS, Catalogue
from lowrank_bench.config_dir import config_dir
from lowrank_bench.methods_cli import main

RECIPES = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    (tmp_path / "method" / "init").mkdir(parents=True)
    text = "# Mine: as I like it. Source: Me 2026.\ndefaults: [lora, override init: own, _self_]\n"
    (tmp_path / "method" / "mine.yaml").write_text(f"{text}name: mine\n")
    (tmp_path / "method" / "init" / "own.yaml").write_text("# My start.\n_target_: m.own\n")
    return tmp_path


def test_every_packaged_recipe_is_listed_with_what_it_is(capsys) -> None:
    assert main([]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    listed = [line.split()[0] for line in lines if line[:1].strip()][1:-1]
    assert listed == RECIPES
    lora = next(i for i, line in enumerate(lines) if line.startswith("lora "))
    assert "a frozen W0 plus (alpha/r) B A" in lines[lora]
    assert "adapter=lora init=zero_b · Hu 2021, arXiv 2106.09685" in lines[lora + 1]


def test_a_method_is_shown_as_yaml_with_its_knobs(capsys) -> None:
    assert main(["pissa"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("Source: Meng 2024")
    node = yaml.safe_load("\n".join(lines[3:-2]))
    assert node["name"] == "pissa"
    assert node["adapter"]["rank"] == "${rank}"
    assert lines[-1] == "Knobs: lr, model.head, model.targets, rank"


def test_the_choices_of_each_slot_are_listed(capsys) -> None:
    assert main(["--slots"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.strip() for line in lines if line.strip() in SLOTS and line[0] != " "] == [*SLOTS]
    for choice in ("adamw", "cosine", "zero_b", "factorised"):
        assert any(line.startswith(f"  {choice} ") for line in lines)


@pytest.mark.reference
def test_the_tuners_of_peft_are_listed_with_what_they_act_on(capsys) -> None:
    assert main(["--peft"]) == 0
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines()[:-1])) <= 80
    rows = dict(line.split(maxsplit=1) for line in out.splitlines() if line.startswith("peft."))
    assert rows["peft.LoHaConfig"].strip() == rows["peft.AdaLoraConfig"].strip() == "yes"
    assert rows["peft.PromptTuningConfig"].startswith("no: ")


def test_a_users_recipes_and_slots_are_included(mine: Path, capsys) -> None:
    assert main(["--config-dir", str(mine)]) == 0
    assert "adapter=lora init=own · Me 2026" in capsys.readouterr().out
    assert main(["--config-dir", str(mine), "--slots"]) == 0
    assert "  own " in capsys.readouterr().out
    assert main(["--config-dir", str(mine), "mine"]) == 0
    assert "_target_: m.own" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["lorra"], "lowrank-methods: lorra: there is no such method; did you mean 'lora'? "),
        (["--config-dir", "/nowhere"], "--config-dir=/nowhere: there is no such folder"),
    ],
)
def test_a_mistake_is_one_line_and_code_2(words: list[str], line: str, capsys) -> None:
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert line in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("words", [["--slots", "--peft"], ["lora", "--slots"], ["--what"]])
def test_words_that_do_not_go_together_are_refused(words: list[str], capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(words)
    assert end.value.code == 2
    assert "usage: lowrank-methods" in capsys.readouterr().err


def test_without_peft_its_list_says_what_to_install(monkeypatch, capsys) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    assert main(["--peft"]) == 2
    assert "pip install 'lowrank-bench[peft]'" in capsys.readouterr().err


@pytest.mark.parametrize("words", [[], ["lora"], ["--slots"]], ids=" ".join)
def test_asking_takes_less_than_five_seconds_and_no_torch(fresh, words) -> None:
    program = ("-X", "importtime", "-m", "lowrank_bench.methods_cli")
    outcome = fresh(*words, program=program)
    assert outcome.code == 0
    assert outcome.out
    loaded = {line.rpartition("|")[2].strip() for line in outcome.err.splitlines()}
    assert "rich" in loaded
    assert not loaded & {"torch", "lightning", "peft", "wandb"}
    assert outcome.cpu_seconds < 5


def test_slots_are_read_through_all_parents() -> None:
    catalogue = Catalogue()
    assert catalogue.recipe("full").slots == {"optimizer": "adamw", "schedule": "constant"}
    assert catalogue.recipe("loha").slots["adapter"] == "peft_loha"
    assert catalogue.recipe("loha").slots["hooks"] == "peft"


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_says_what_it_is(name: str) -> None:
    assert Catalogue().recipe(name).what
