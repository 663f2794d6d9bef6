import json
import logging

import pytest
import torch

from lowrank_bench.data.instructions import InstructionData
from lowrank_bench.data.text_files import PromptFiles
from lowrank_bench.errors import ConfigError

ROWS = [
    {"prompt": "ab", "response": "xyz", "topic": "letters"},
    {"prompt": "1+1=", "response": "2", "topic": "sums"},
    {"prompt": "a long prompt", "response": "!", "topic": "length"},
    {"prompt": "say nothing", "response": "", "topic": "silence"},
    {"prompt": "c", "response": "long response", "topic": "length"},
]


@pytest.fixture
def instructions(tmp_path):
    def make(rows=ROWS, *, template="{prompt}", response="response", **options):
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)))
        given = {
            "name": "toy",
            "reader": PromptFiles(str(path), template=template, response=response),
            "tokenizer": "bytes",
            "vocab_size": 257,
            "length": 8,
            "val_size": 0,
            "test_size": 0,
            "split_seed": 0,
            "cache": str(tmp_path / "cache"),
        }
        return InstructionData(**(given | options))

    return make


def written(tokens):
    return "".join({-1: "_", -100: "_", 256: "|"}.get(i) or chr(i) for i in tokens)


def read(part):
    x, y = part.fetch(slice(None))
    return [(written(a), written(b)) for a, b in zip(x.tolist(), y.tolist(), strict=True)]


def test_the_response_and_its_end_are_the_targets(instructions):
    assert read(instructions().train) == [
        ("abxyz___", "_xyz|___"),
        ("1+1=2___", "___2|___"),
        ("clong re", "long res"),
    ]


def test_examples_without_a_response_in_reach_are_left_out_and_counted(instructions, caplog):
    with caplog.at_level(logging.WARNING):
        data = instructions()
    assert len(data.train) == 3
    (said,) = caplog.messages
    assert "2 of 5 examples left out" in said and "data.length=8" in said
    assert len(instructions(length=13).train) == 4


def test_nothing_is_said_where_nothing_is_left_out(instructions, caplog):
    instructions(ROWS[:2])
    assert caplog.messages == []


def test_targets_are_tokens_of_responses(instructions):
    train = instructions().train
    assert train.count(slice(None)) == 4 + 2 + 8
    assert train.count(torch.tensor([1])) == 2


def test_a_prompt_is_a_template_filled_with_columns(instructions):
    data = instructions(ROWS[:2], template="{topic}>{prompt}:", length=20)
    assert [x.rstrip("_") for x, _ in read(data.train)] == ["letters>ab:xyz", "sums>1+1=:2"]


def test_braces_in_a_prompt_are_left_alone(instructions):
    rows = [{"prompt": "{x} {response}", "response": "r"}]
    data = instructions(rows, length=20)
    assert read(data.train)[0][0].rstrip("_") == "{x} {response}r"


def test_the_objective_divides_by_the_responses_alone(instructions):
    data = instructions()
    x, y = data.train.fetch(slice(None))
    logits = torch.zeros(*x.shape, 257)
    for index in range(len(y)):
        for place, target in enumerate(y[index].tolist()):
            if target >= 0:
                logits[index, place, target] = 50.0
            else:
                logits[index, place, 7] = 50.0  # as wrong as can be, and not counted
    metrics = data.objective.metrics(data.objective.sums(logits, y))
    assert metrics["accuracy"] == 1
    assert metrics["loss"] < 1e-10
    # xyz| 2| and 8 bytes of the long one: 12 bytes in 14 tokens
    assert data.objective.bytes_per_token == pytest.approx(12 / 14)


def test_bytes_are_those_of_what_is_held_out(instructions):
    rows = [{"prompt": "p", "response": "x" * (i + 1)} for i in range(9)]
    data = instructions(rows, length=20, val_size=2, test_size=3)
    tokens = data.val.count(slice(None)) + data.test.count(slice(None))
    assert data.objective.bytes_per_token == pytest.approx((tokens - 5) / tokens)


def test_the_parts_share_out_the_examples(instructions):
    rows = [{"prompt": str(i), "response": chr(97 + i)} for i in range(10)]
    data = instructions(rows, val_size=0.2, test_size=3, adapters=2)
    parts = [read(part) for part in (data.train, data.val, data.test)]
    assert [len(part) for part in parts] == [5, 2, 3]
    assert len({pair for part in parts for pair in part}) == 10
    assert data.train.fetch_ids(slice(None)).tolist() == [0, 1, 0, 1, 0]
    again = instructions(rows, val_size=0.2, test_size=3, split_seed=1)
    assert read(again.test) != parts[2]


@pytest.mark.parametrize(
    "options, said",
    [
        ({"response": "answer"}, "data.response=answer: no such column in"),
        ({"template": "{promt}"}, "data.template=promt: no such column in"),
        ({"template": "no column"}, "data.template=no column: must name a column"),
        ({"template": None}, "data.template=None: must name a column"),
        ({"length": 0}, "data.length=0: must be"),
        ({"val_size": 3}, "data.val_size=3: with data.test_size=0 nothing is left to train on"),
        ({"vocab_size": 256}, "data.vocab_size=256: "),
        ({"split_seed": -1}, "data.split_seed=-1: must be"),
        ({"adapters": 4}, "data.adapters=4: must be a whole number from 1 to 3"),
        ({"rows": ROWS[3:4]}, "data.length=8: of no example of data.path="),
        ({"rows": []}, "data.path="),
    ],
)
def test_a_mistake_is_one_line(instructions, options, said):
    with pytest.raises(ConfigError) as caught:
        instructions(**options)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_a_text_file_holds_no_prompts(tmp_path):
    (tmp_path / "a.txt").write_text("text")
    with pytest.raises(ConfigError, match=r"must end in \.jsonl, \.parquet or \.csv$"):
        _ = PromptFiles(str(tmp_path / "a.txt")).checksum
