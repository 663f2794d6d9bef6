"""Runs on text, from the command line: what they leave, and what a mistake is told."""

import json
from pathlib import Path

import pytest

TINY = (
    *("model=llama_micro", "method=full", "model.hidden=16", "model.ff=32", "model.layers=1"),
    *("model.heads=2", "data.length=16", "epochs=1", "budget.updates_per_epoch=4"),
    *("budget.batch_size=4", "run.eval_batch_size=64", "logger=local"),
)


@pytest.fixture
def book(tmp_path: Path) -> Path:
    """A file of 3500 bytes."""
    path = tmp_path / "book.txt"
    path.write_text("It was a dark night, and the rain fell in torrents.\n" * 70)
    return path


def records(here: Path) -> list[dict]:
    return [json.loads(path.read_text()) for path in here.glob("runs/*/record.json")]


@pytest.mark.slow
def test_a_run_on_ones_own_text_measures_perplexity_and_bits_per_byte(bench, here, env, book):
    outcome = bench("data=text", f"data.path={book}", *TINY)
    assert outcome.code == 0, outcome
    (record,) = records(here)
    assert record["status"] == "finished"
    final, before = record["metrics"]["final"], record["metrics"]["before"]
    assert final["val_loss"] < before["val_loss"]
    assert 1 < final["test_perplexity"] < 257
    assert 1 < final["test_bits_per_byte"] < 8.1
    assert 0 < final["test_accuracy"] < 1
    (folder,) = (Path(env["XDG_CACHE_HOME"]) / "lowrank_bench" / "tokens").glob("[!.]*")
    assert {path.name for path in folder.iterdir()} == {"tokens.bin", "documents.npy", "meta.json"}

    again = bench("data=text", f"data.path={book}", *TINY)
    assert again.code == 0 and len(records(here)) == 1
    assert "finished before" in again.out or "reused" in again.out

    book.write_text(book.read_text().replace("dark", "dull"))
    other = bench("data=text", f"data.path={book}", *TINY)
    assert other.code == 0 and "made on other data" in other.out
    (record_now,) = records(here)
    assert record_now["env"]["data_checksum"] != record["env"]["data_checksum"]


@pytest.mark.slow
def test_two_commands_at_once_tokenise_and_train_each_run_once(start, here, env):
    words = ("-m", "data=python_docs", "seed=0,1", *TINY)
    commands = [start(*words), start(*words)]
    outcomes = [command.wait() for command in commands]
    assert [outcome.code for outcome in outcomes] == [0, 0], outcomes
    assert sorted(record["seed"] for record in records(here)) == [0, 1]
    cache = Path(env["XDG_CACHE_HOME"]) / "lowrank_bench" / "tokens"
    assert len(list(cache.glob("[!.]*"))) == 1
    assert not list(cache.glob(".making-*"))


@pytest.mark.slow
def test_a_model_of_images_says_that_it_does_not_go_with_text(bench, here, book):
    outcome = bench("data=text", f"data.path={book}", "model=mlp", "method=full")
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1


MISTAKES = {
    "data=text": ("data.path",),
    "data=text data.path=nowhere.txt": ("data.path=", "nowhere.txt: there is no such file"),
    "data=text data.path={tmp}/empty.txt": ("data.path={tmp}/empty.txt: holds no text",),
    "data=text data.path={tmp}/short.txt": ("data.length=16:", "has 6 tokens, fewer than one"),
    "data=text data.path={tmp}/rows.jsonl data.column=body": ("data.column=body:", "is: text"),
    "data=text data.path={tmp}/latin.txt": ("byte 3 is not UTF-8",),
    "data=python_docs data.tokenizer=/no/such/folder": ("data.tokenizer=/no/such/folder:",),
    "data=python_docs data.vocab_size=200": ("data.vocab_size=200:", "data.vocab_size=257"),
    "data=python_docs model.vocab_size=100": ("the model knows 100", "data.tokenizer"),
    "data=python_docs data.cache=/dev/null/x": ("data.cache=/dev/null/x:", "cannot be written"),
    "data=instructions data.path={tmp}/rows.jsonl": ("data.template=prompt:", "no such column"),
    "data=text_classification data.path={tmp}/rows.jsonl": ("num_classes",),
}


@pytest.mark.slow
@pytest.mark.parametrize("words", MISTAKES)
def test_a_mistake_with_text_is_one_line_and_leaves_nothing(bench, here, env, tmp_path, words):
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "short.txt").write_text("short")
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    (tmp_path / "rows.jsonl").write_text('{"text": "a row"}\n')
    outcome = bench(*TINY, *words.format(tmp=tmp_path).split())
    assert outcome.code == 2, outcome
    (line,) = outcome.err.splitlines()
    for part in MISTAKES[words]:
        assert part.format(tmp=tmp_path) in line
    assert list(here.iterdir()) == []
    left = [path for path in Path(env["XDG_CACHE_HOME"]).rglob("*") if path.name == "tokens.bin"]
    whole = [path for path in left if (path.parent / "meta.json").exists()]
    assert left == whole
