import json
import logging

import polars
import pytest
import torch

from lowrank_bench.data.text_classification import TextClassificationData
from lowrank_bench.data.text_files import LabelledFiles
from lowrank_bench.errors import ConfigError

ROWS = [
    {"text": "good", "label": "pos"},
    {"text": "bad", "label": "neg"},
    {"text": "", "label": "neg"},
    {"text": "so so so", "label": "mid"},
    {"text": "fine", "label": "pos"},
]


@pytest.fixture
def classification(tmp_path):
    def make(rows=ROWS, *, suffix=".jsonl", column="text", label_column="label", **options):
        path = tmp_path / f"rows{suffix}"
        if suffix == ".jsonl":
            path.write_text("\n".join(map(json.dumps, rows)))
        elif suffix == ".csv":
            polars.DataFrame(rows).write_csv(path)
        else:
            polars.DataFrame(rows).write_parquet(path)
        given = {
            "name": "toy",
            "reader": LabelledFiles(str(path), column=column, label_column=label_column),
            "num_classes": 3,
            "tokenizer": "bytes",
            "vocab_size": 257,
            "length": 5,
            "val_size": 0,
            "test_size": 0,
            "split_seed": 0,
            "cache": str(tmp_path / "cache"),
        }
        return TextClassificationData(**(given | options))

    return make


def read(part):
    x, y = part.fetch(slice(None))
    texts = [bytes(i for i in row if i >= 0).decode() for row in x.tolist()]
    return list(zip(texts, y.tolist(), strict=True))


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_words_are_numbered_in_sorted_order(classification, suffix):
    data = classification(suffix=suffix)
    assert read(data.train) == [("good", 2), ("bad", 1), ("so so", 0), ("fine", 2)]


def test_whole_numbers_from_zero_keep_theirs(classification):
    rows = [{"text": str(label), "label": label} for label in (2, 10, 0, 1, 2, *range(3, 10))]
    data = classification(rows, num_classes=11)
    assert [label for _, label in read(data.train)] == [2, 10, 0, 1, 2, *range(3, 10)]


def test_texts_are_padded_on_the_right_and_cut(classification):
    x, _ = classification().train.fetch(slice(0, 3))
    assert x.tolist() == [[*b"good", -1], [*b"bad", -1, -1], [*b"so so"]]


def test_empty_texts_are_left_out_and_counted(classification, caplog):
    with caplog.at_level(logging.WARNING):
        assert len(classification().train) == 4
    (said,) = caplog.messages
    assert said.endswith("1 texts left out, which are empty")


def test_the_objective_counts_labels(classification):
    data = classification()
    x, y = data.train.fetch(slice(None))
    logits = torch.nn.functional.one_hot(y, 3).float() * 50
    metrics = data.objective.metrics(data.objective.sums(logits, y))
    assert metrics["accuracy"] == 1
    assert data.train.count(slice(None)) == len(x) == int(data.objective.count(y))
    with pytest.raises(ConfigError, match=r"toy has 3 classes"):
        data.objective.check_outputs(2)


def test_a_tokenizer_of_a_folder_begins_each_text_as_its_model_wants(
    classification, tokenizer_folder
):
    rows = [{"text": "the cat", "label": 0}, {"text": "cat sat the cat sat", "label": 1}]
    data = classification(
        rows, tokenizer=str(tokenizer_folder), vocab_size=6, num_classes=2, length=4
    )
    assert data.train.fetch(slice(None))[0].tolist() == [[5, 2, 3, -1], [5, 3, 4, 2]]


def test_the_parts_share_out_the_examples(classification):
    rows = [{"text": f"t{i}", "label": i % 3} for i in range(12)]
    data = classification(rows, val_size=0.25, test_size=2, adapters=3)
    parts = [read(part) for part in (data.train, data.val, data.test)]
    assert [len(part) for part in parts] == [7, 3, 2]
    assert {pair for part in parts for pair in part} == {(f"t{i}", i % 3) for i in range(12)}
    assert data.train.fetch_ids(slice(2, 5)).tolist() == [2, 0, 1]


@pytest.mark.parametrize(
    "options, said",
    [
        ({"num_classes": 2}, "data.num_classes=2: data.path="),
        ({"num_classes": 4}, "data.num_classes=4: data.path="),
        ({"column": "txt"}, "data.column=txt: no such column in"),
        ({"label_column": "lable"}, "data.label_column=lable: no such column in"),
        ({"rows": [{"text": "a", "label": 0.5}]}, "data.label_column=label: holds 0.5 in"),
        ({"rows": [{"text": "a", "label": None}]}, "data.label_column=label: holds None in"),
        ({"length": 0}, "data.length=0: must be"),
        ({"val_size": 4}, "data.val_size=4: with data.test_size=0 nothing is left"),
        ({"vocab_size": 256}, "data.vocab_size=256: "),
        ({"rows": []}, "data.path="),
        ({"rows": ROWS[2:3], "num_classes": 1}, "data.path="),
    ],
)
def test_a_mistake_is_one_line(classification, options, said):
    with pytest.raises(ConfigError) as caught:
        classification(**options)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_how_many_labels_there_are_is_said(classification):
    with pytest.raises(ConfigError, match="has 3 different labels"):
        classification(num_classes=2)


def test_words_and_numbers_together_are_refused(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"text": "a", "label": "one"}')
    (tmp_path / "b.jsonl").write_text('{"text": "a", "label": 1}')
    with pytest.raises(ConfigError, match="holds words and numbers"):
        list(LabelledFiles(str(tmp_path)).documents())
