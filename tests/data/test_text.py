import json
import math

import numpy as np
import pytest
import torch

from lowrank_bench.data.corpus import Texts
from lowrank_bench.data.python_docs import read
from lowrank_bench.data.text import TextData
from lowrank_bench.errors import ConfigError

LETTERS = Texts("data=letters", ["abcdefghi", "jklmnopqrs", "tuv"])  # 10 + 11 + 4 = 25 tokens


@pytest.fixture
def text_data(tmp_path):
    def make(reader=LETTERS, **options):
        given = {
            "name": "toy",
            "reader": reader,
            "tokenizer": "bytes",
            "vocab_size": 257,
            "length": 4,
            "val_size": 1,
            "test_size": 2,
            "split_seed": 0,
            "cache": str(tmp_path / "cache"),
        }
        return TextData(**(given | options))

    return make


def whole(part):
    return part.fetch(slice(None))


def test_the_parts_are_one_after_the_other_and_predict_each_token_once(text_data):
    data = text_data()
    parts = [data.train, data.val, data.test]
    assert [len(part) for part in parts] == [3, 1, 2]
    x = torch.cat([whole(part)[0] for part in parts]).flatten().tolist()
    y = torch.cat([whole(part)[1] for part in parts]).flatten().tolist()
    assert x[1:] == y[:-1]
    assert len(x) == 24
    assert len([token for token in [x[0], *y] if token == 256]) == 3


def test_sizes_may_be_shares(text_data):
    data = text_data(length=1, val_size=0.25, test_size=0.5)  # of 24 sequences
    assert [len(part) for part in (data.train, data.val, data.test)] == [6, 6, 12]
    assert len(text_data(val_size=0.01, test_size=0).val) == 1
    bare = text_data(val_size=0, test_size=0.0)
    assert bare.val is None and bare.test is None and len(bare.train) == 6


def test_the_seed_of_the_split_decides_the_order_of_documents(text_data):
    def begins(seed):
        return tuple(whole(text_data(split_seed=seed).train)[0].flatten().tolist())

    assert begins(0) == begins(0)
    assert len({begins(seed) for seed in range(6)}) > 1


def test_the_objective_knows_the_bytes_of_what_is_held_out(text_data):
    held = text_data(val_size=2, test_size=3)  # all but one window
    _, y = whole(held.train)
    tokens = 24 - 4
    ends = 3 - (y == 256).sum().item()
    assert held.objective.bytes_per_token == pytest.approx((tokens - ends) / tokens)
    nothing = text_data(val_size=0, test_size=0)
    assert nothing.objective.bytes_per_token == pytest.approx(21 / 24)  # all but the first


def test_bits_per_byte_of_a_fair_coin_over_all_bytes_is_eight(text_data):
    """A uniform guess among 256 costs a byte 8 bits, and the ends of documents cost as much."""
    data = text_data()
    _, y = whole(data.test)
    logits = torch.zeros(*y.shape, 256)
    y = y.clamp(max=255)
    metrics = data.objective.metrics(data.objective.sums(logits, y))
    assert metrics["bits_per_byte"] == pytest.approx(8 / data.objective.bytes_per_token)
    assert metrics["perplexity"] == pytest.approx(256)
    assert metrics["loss"] == pytest.approx(math.log(256))


def test_a_tokenizer_of_a_folder_is_used_and_known_to_the_objective(text_data, tokenizer_folder):
    words = Texts("data=words", ["the cat sat", "the cat", "sat sat sat"])
    data = text_data(
        words, tokenizer=str(tokenizer_folder), vocab_size=6, length=2, val_size=1, test_size=1
    )
    assert data.objective.vocab_size == 6
    x, _ = whole(data.train)
    assert set(x.flatten().tolist()) <= {1, 2, 3, 4}
    assert data.objective.bytes_per_token > 2
    with pytest.raises(ConfigError, match=r"^data\.tokenizer: toy has tokens up to 5"):
        data.objective.check_outputs(5)


def test_a_vocab_size_above_the_tokenizer_s_leaves_the_objective_at_the_tokenizer_s(text_data):
    assert text_data(vocab_size=320).objective.vocab_size == 257
    assert text_data(vocab_size=None).objective.vocab_size == 257


def test_python_docs_are_the_topics_of_this_python(text_data):
    from pydoc_data.topics import topics

    corpus = read()
    assert [document.text for document in corpus.documents()] == [
        topics[name] for name in sorted(topics)
    ]
    data = text_data(corpus, length=256, val_size=0.05, test_size=0.1)
    assert data.checksum == corpus.checksum is not None
    size = sum(len(text.encode()) + 1 for text in topics.values())
    assert len(data.train) + len(data.val) + len(data.test) == (size - 1) // 256
    x, _ = data.train.fetch(slice(0, 50))
    assert b"the" in bytes((x.flatten() % 256).tolist())
    assert (x >= 0).all() and (x <= 256).all()
    assert 0.99 < data.objective.bytes_per_token < 1


@pytest.mark.parametrize(
    "options, said",
    [
        ({"length": 0}, "data.length=0: must be a whole number of at least 1"),
        ({"length": -4}, "data.length=-4: must be"),
        ({"length": 2.5}, "data.length=2.5: must be"),
        ({"length": 25}, "data.length=25: data=letters has 25 tokens, fewer than one sequence"),
        ({"length": 24}, "data.val_size=1: with data.test_size=2 nothing is left to train on"),
        ({"val_size": 6, "test_size": 0}, "data.val_size=6: with data.test_size=0 nothing"),
        ({"val_size": -1}, "data.val_size=-1: must be a whole number of sequences, or a share"),
        ({"val_size": 1.5}, "data.val_size=1.5: must be a whole number of sequences, or a share"),
        ({"test_size": "many"}, "data.test_size=many: must be"),
        ({"test_size": True}, "data.test_size=True: must be"),
        ({"split_seed": -1}, "data.split_seed=-1: must be"),
        ({"max_tokens": 0}, "data.max_tokens=0: must be"),
        ({"adapters": 0}, "data.adapters=0: must be a whole number from 1 to 3"),
        ({"adapters": 4}, "data.adapters=4: must be a whole number from 1 to 3"),
        ({"vocab_size": 256}, "data.vocab_size=256: data.tokenizer=bytes has 257 tokens"),
    ],
)
def test_a_mistake_is_one_line(text_data, options, said):
    with pytest.raises(ConfigError) as caught:
        text_data(**options)
    assert str(caught.value).startswith(said)
    assert "\n" not in str(caught.value)


def test_the_longest_length_that_a_text_has(text_data):
    data = text_data(length=24, val_size=0, test_size=0)
    x, y = whole(data.train)
    assert x.shape == y.shape == (1, 24)


def test_sequences_belong_to_adapters_by_turns(text_data):
    data = text_data(adapters=2)
    assert data.adapters == 2
    assert data.train.fetch_ids(slice(None)).tolist() == [0, 1, 0]
    assert data.test.fetch_ids(slice(None)).tolist() == [0, 1]


def test_its_checksum_is_of_the_text_alone(text_data):
    other = Texts("data=letters", [*LETTERS.texts[:2], "tuw"])
    assert text_data(length=3).checksum == text_data().checksum
    assert text_data(other).checksum != text_data().checksum
    assert Texts("", ["ab", "c"]).checksum != Texts("", ["a", "bc"]).checksum


def test_a_causal_model_learns_to_count(text_data):
    """Targets are in step with what they follow: a table of pairs learns the alphabet."""
    data = text_data(val_size=0, test_size=0, length=6)
    x, y = whole(data.train)
    table = torch.zeros(257, 257, requires_grad=True)
    optimizer = torch.optim.SGD([table], lr=50.0)
    for _ in range(30):
        optimizer.zero_grad()
        data.objective.mean(table[x], y).backward()
        optimizer.step()
    assert table[ord("b")].argmax().item() == ord("c")
    assert table[ord("p")].argmax().item() == ord("q")


def test_a_cache_for_another_split_is_another(text_data, tmp_path):
    for options in ({}, {"length": 3}, {"val_size": 2}, {"split_seed": 1}):
        text_data(**options)
    made = [each for each in (tmp_path / "cache").iterdir() if each.name != ".locks"]
    assert len(made) == 2
    sizes = [json.loads((folder / "meta.json").read_text())["vocab_size"] for folder in made]
    assert np.unique(sizes).tolist() == [257]
