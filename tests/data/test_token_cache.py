import json
import os
import subprocess
import sys
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from lowrank_bench.data.corpus import Document, Texts
from lowrank_bench.data.token_cache import tokens_of
from lowrank_bench.data.tokenizers import ByteTokenizer, tokenizer_of
from lowrank_bench.errors import ConfigError

WORDS = ("one", "two", "", "three", "né")
ENDED = {"one", "two", "three", "né"}


class Counted(ByteTokenizer):
    """How many texts it was asked for."""

    asked = 0

    def encode(self, texts):
        self.asked += len(texts)
        return super().encode(texts)


@pytest.fixture
def make(tmp_path):
    def tokens(texts=WORDS, *, tokenizer=None, seed=0, **options):
        corpus = texts if hasattr(texts, "documents") else Texts("the words", texts)
        return tokens_of(
            corpus,
            tokenizer or ByteTokenizer(),
            split_seed=seed,
            **({"vocab_size": 257, "cache": str(tmp_path / "cache")} | options),
        )

    return tokens


def folder_of(tmp_path):
    (folder,) = (each for each in (tmp_path / "cache").iterdir() if each.name != ".locks")
    return folder


def texts_in(tokens):
    """The documents of a byte stream, which all end in 256."""
    pieces = np.split(tokens.stream, np.flatnonzero(tokens.stream == 256) + 1)
    assert not len(pieces.pop())
    return [bytes(piece[:-1].tolist()).decode() for piece in pieces]


def test_all_documents_are_there_once_and_end(make):
    tokens = make()
    assert set(texts_in(tokens)) == ENDED
    assert len(texts_in(tokens)) == len(ENDED)
    assert tokens.stream.dtype == np.uint16


def test_the_seed_alone_decides_the_order(make):
    orders = {tuple(texts_in(make(seed=seed))) for seed in range(8)}
    assert len(orders) > 1
    assert texts_in(make(seed=3)) == texts_in(make(seed=3))
    assert texts_in(make(seed=None)) == [word for word in WORDS if word]


def test_lengths_and_bytes_are_those_of_the_documents_in_their_order(make):
    tokens = make()
    texts = texts_in(tokens)
    assert tokens.sizes.tolist() == [len(text.encode()) for text in texts]
    assert tokens.lengths.tolist() == [len(text.encode()) + 1 for text in texts]
    assert [tokens.stream[start] for start in tokens.starts] == [text.encode()[0] for text in texts]


def test_bytes_over_tokens_are_counted_to_the_document(make):
    tokens = make(["abc", "defgh"], seed=None)  # a b c | d e f g h |
    assert tokens.bytes_per_token(0, 10) == 8 / 10
    assert tokens.bytes_per_token(4, 10) == 5 / 6
    assert tokens.bytes_per_token(0, 4) == 3 / 4
    assert tokens.bytes_per_token(2, 7) == pytest.approx(4 / 5)
    assert tokens.bytes_per_token(1, 3) == pytest.approx(1)
    assert tokens.bytes_per_token(3, 4) == 0


def test_a_document_that_is_cut_gives_bytes_in_proportion_to_its_tokens(make, tokenizer_folder):
    tokenizer = tokenizer_of(str(tokenizer_folder))
    tokens = make(["the cat", "sat the sat"], tokenizer=tokenizer, seed=None)
    assert tokens.lengths.tolist() == [3, 4]
    assert tokens.bytes_per_token(0, 7) == 18 / 7
    assert tokens.bytes_per_token(1, 5) == pytest.approx((7 / 2 + 2 * 11 / 3) / 4)


def test_a_second_time_nothing_is_tokenised(make):
    tokenizer = Counted()
    first = make(tokenizer=tokenizer)
    assert tokenizer.asked == 4
    second = make(tokenizer=tokenizer)
    assert tokenizer.asked == 4
    assert first.stream.tolist() == second.stream.tolist()
    make(WORDS[:2], tokenizer=tokenizer)
    assert tokenizer.asked == 6


def test_the_tokens_are_mapped_and_not_read(make):
    stream = make().stream
    assert isinstance(stream.base, np.memmap)
    assert not stream.flags.writeable


def damage_tokens(folder):
    content = bytearray((folder / "tokens.bin").read_bytes())
    content[3] ^= 1
    (folder / "tokens.bin").write_bytes(content)


def cut_tokens(folder):
    content = (folder / "tokens.bin").read_bytes()
    (folder / "tokens.bin").write_bytes(content[:-2])


def damage_documents(folder):
    content = bytearray((folder / "documents.npy").read_bytes())
    content[-1] ^= 1
    (folder / "documents.npy").write_bytes(content)


def cut_meta(folder):
    (folder / "meta.json").write_text((folder / "meta.json").read_text()[:-5])


def other_meta(folder):
    (folder / "meta.json").write_text(json.dumps(["a list"]))


def lose_meta(folder):
    (folder / "meta.json").unlink()


def lose_tokens(folder):
    (folder / "tokens.bin").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        damage_tokens,
        cut_tokens,
        damage_documents,
        cut_meta,
        other_meta,
        lose_meta,
        lose_tokens,
    ],
)
def test_what_is_not_whole_is_made_anew(make, tmp_path, damage):
    tokenizer = Counted()
    before = make(tokenizer=tokenizer).stream.tolist()
    damage(folder_of(tmp_path))
    assert make(tokenizer=tokenizer).stream.tolist() == before
    assert tokenizer.asked == 8
    assert make(tokenizer=tokenizer).stream.tolist() == before
    assert tokenizer.asked == 8


class Interrupted(Texts):
    def documents(self):
        yield Document("one")
        raise KeyboardInterrupt


def test_an_interrupted_making_leaves_nothing(make, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        make(Interrupted("it", WORDS))
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [".locks"]


def test_what_a_killed_process_has_left_is_cleared(make, tmp_path):
    make()
    name = folder_of(tmp_path).name
    lose_meta(folder_of(tmp_path))
    left = tmp_path / "cache" / f".making-{name}"
    left.mkdir()
    (left / "unordered.bin").write_bytes(b"half")
    assert set(texts_in(make())) == ENDED
    assert not left.exists()


def test_text_that_holds_nothing_is_one_line_and_leaves_nothing(make, tmp_path):
    for texts in ([], ["", ""]):
        with pytest.raises(ConfigError, match=r"^the words: holds no text$"):
            make(texts)
    assert [each.name for each in (tmp_path / "cache").iterdir()] == [".locks"]


def test_no_document_is_begun_after_max_tokens(make):
    assert texts_in(make(seed=None, max_tokens=4)) == ["one"]
    assert texts_in(make(seed=None, max_tokens=5)) == ["one", "two"]
    assert len(texts_in(make(seed=None, max_tokens=1000))) == 4


def test_many_documents_are_all_kept(make):
    texts = [f"text {i}" for i in range(1000)]
    tokens = make(texts, seed=1)
    assert sorted(texts_in(tokens)) == sorted(texts)
    assert len(texts_in(make(texts, seed=None, max_tokens=5000))) < 1000


def test_a_document_may_have_a_label_and_no_end(make):
    class Labelled(Texts):
        def documents(self):
            return iter([Document("ab", label=3, ends=False), Document("c", label=1)])

    tokens = make(Labelled("it", ["labelled"]), seed=None)
    assert tokens.stream.tolist() == [97, 98, 99, 256]
    assert tokens.labels.tolist() == [3, 1]
    assert tokens.lengths.tolist() == [2, 2]


def test_a_large_vocabulary_takes_four_bytes_a_token(make):
    class Large(ByteTokenizer):
        name, size, end = "large", 2**16 + 1, 2**16
        identity = "large"

    tokens = make(["a"], tokenizer=Large(), vocab_size=None)
    assert tokens.stream.tolist() == [97, 2**16]
    assert tokens.stream.dtype == np.uint32
    assert tokens.vocab_size == 2**16 + 1


def test_a_vocab_size_is_checked_before_tokenising_and_again_from_the_cache(make):
    tokenizer = Counted()
    with pytest.raises(ConfigError, match=r"data\.vocab_size=100"):
        make(tokenizer=tokenizer, vocab_size=100)
    assert tokenizer.asked == 0
    make(tokenizer=tokenizer)
    with pytest.raises(ConfigError, match=r"data\.vocab_size=100"):
        make(tokenizer=tokenizer, vocab_size=100)


def test_without_a_folder_of_ones_own_the_cache_is_below_the_user_s(make, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    make(cache=None)
    assert (tmp_path / "xdg" / "lowrank_bench" / "tokens" / ".locks").is_dir()


def test_a_folder_that_cannot_be_written_is_one_line(make, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"^data\.cache=.*file/x: .* cannot be written \("):
        make(cache=str(tmp_path / "file" / "x"))


def test_processes_that_want_the_same_tokens_make_them_once(tmp_path):
    """Each text that is tokenised leaves a line in a file."""
    code = """
import sys, time
from lowrank_bench.data.corpus import Texts
from lowrank_bench.data.token_cache import tokens_of
from lowrank_bench.data.tokenizers import ByteTokenizer, tokenizer_of

class Slow(ByteTokenizer):
    def encode(self, texts):
        time.sleep(0.3)
        with open(sys.argv[1] + "/asked", "a") as file:
            file.write("asked\\n")
        return super().encode(texts)

tokens = tokens_of(Texts("it", ["abc"]), Slow(), vocab_size=None, split_seed=0,
                   cache=sys.argv[1] + "/cache")
print(tokens.stream.tolist())
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    outputs = [process.communicate(timeout=60)[0] for process in started]
    assert outputs == ["[97, 98, 99, 256]\n"] * 3
    assert (tmp_path / "asked").read_text() == "asked\n"


def _die_while_making(cache: str) -> None:
    class Deadly(Texts):
        def documents(self):
            yield Document("one")
            os._exit(9)

    tokens_of(Deadly("it", WORDS), ByteTokenizer(), vocab_size=None, split_seed=0, cache=cache)


def test_a_process_killed_while_making_keeps_nobody_waiting(make, tmp_path):
    process = get_context("fork").Process(target=_die_while_making, args=(str(tmp_path / "cache"),))
    process.start()
    process.join(60)
    assert process.exitcode == 9
    assert list(Path(tmp_path, "cache").glob(".making-*"))
    assert set(texts_in(make())) == ENDED
    assert not list(Path(tmp_path, "cache").glob(".making-*"))
