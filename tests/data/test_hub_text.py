import json

import polars
import pytest

from lowrank_bench.data import rows
from lowrank_bench.data.hub import HubText
from lowrank_bench.data.text import TextData
from lowrank_bench.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    """A folder laid out like a data set of the hub."""
    root = tmp_path / "stories"
    root.mkdir()
    train = [{"text": f"story {i}", "title": f"t{i}"} for i in range(6)]
    (root / "train.jsonl").write_text("\n".join(map(json.dumps, train)))
    (root / "validation.jsonl").write_text(json.dumps({"text": "held out", "title": "v"}))
    return root


def texts(path, **options):
    return [document.text for document in HubText(str(path), **options).documents()]


def test_a_local_folder_is_read_without_a_network(folder):
    assert texts(folder) == [f"story {i}" for i in range(6)]
    assert texts(folder, split="validation") == ["held out"]
    assert texts(folder, column="title") == [f"t{i}" for i in range(6)]


def test_a_folder_of_parquet_files_is_read(tmp_path):
    (tmp_path / "set").mkdir()
    polars.DataFrame({"text": ["one", None, "", "two"]}).write_parquet(tmp_path / "set/a.parquet")
    assert texts(tmp_path / "set") == ["one", "two"]


def test_as_many_documents_are_read_as_were_asked_for(folder):
    assert texts(folder, max_documents=2) == ["story 0", "story 1"]
    assert len(texts(folder, max_documents=100)) == 6


def test_what_streams_is_not_read_beyond_the_last_document(monkeypatch, tmp_path):
    import datasets

    def endless():
        yield from ({"text": "more"} for _ in range(1024))
        raise AssertionError("read on")

    asked = []

    def load_dataset(*args, **options):
        asked.append((args, options))
        return endless()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = texts("owner/name", subset="en", revision="abc", max_documents=900)
    assert found == ["more"] * 900
    ((args, options),) = asked
    assert args == ("owner/name",)
    assert options.pop("cache_dir")
    assert options == {"name": "en", "split": "train", "revision": "abc", "streaming": True}

    TextData(
        name="hf_text",
        reader=HubText("owner/name"),
        tokenizer="bytes",
        vocab_size=257,
        length=4,
        max_tokens=1000,
        val_size=0,
        test_size=0,
        split_seed=0,
        cache=str(tmp_path / "cache"),
    )


def test_a_second_run_needs_no_hub(monkeypatch, tmp_path):
    import datasets

    def build():
        return TextData(
            name="hf_text",
            reader=HubText("owner/name", revision="abc", max_documents=3),
            tokenizer="bytes",
            vocab_size=257,
            length=4,
            val_size=0,
            test_size=0,
            split_seed=0,
            cache=str(tmp_path / "cache"),
        )

    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: iter([{"text": "abcdef"}]))
    first = build()
    monkeypatch.setattr(datasets, "load_dataset", None)
    assert len(build().train) == len(first.train) == 1


def test_the_checksum_of_a_folder_is_of_its_files_and_the_hub_has_none(folder):
    before = HubText(str(folder)).checksum
    assert before is not None and before == HubText(str(folder)).checksum
    (folder / "train.jsonl").write_text(json.dumps({"text": "another"}))
    assert HubText(str(folder)).checksum != before
    assert HubText("owner/name").checksum is None


def test_the_key_tells_apart_what_may_hold_other_documents(folder):
    readers = [
        reader
        for path in ("owner/name", "owner/other", str(folder))
        for reader in (
            HubText(path),
            HubText(path, subset="x"),
            HubText(path, split="test"),
            HubText(path, revision="x"),
            HubText(path, column="x"),
            HubText(path, max_documents=5),
        )
    ]
    assert len({reader.key for reader in readers}) == len(readers)


def unreachable(*_args, **_options):
    raise ConnectionError("Couldn't reach 'owner/name' on the Hub\n(no network)")


def test_a_hub_that_cannot_be_reached_is_one_line(monkeypatch):
    import datasets

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(ConfigError) as caught:
        texts("owner/name")
    assert str(caught.value) == (
        "data.path=owner/name: cannot be read (Couldn't reach 'owner/name' on the Hub (no network))"
    )


@pytest.mark.parametrize(
    "options, said",
    [
        ({"split": "tset"}, "cannot be read ("),
        ({"column": "txt"}, "data.column=txt: no such column in data.path="),
        ({"max_documents": 0}, "data.reader.max_documents=0: must be"),
        ({"max_documents": -3}, "data.reader.max_documents=-3: must be"),
    ],
)
def test_a_mistake_is_one_line(folder, options, said):
    with pytest.raises(ConfigError) as caught:
        texts(folder, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_folder_without_data_is_one_line(tmp_path):
    with pytest.raises(ConfigError, match=r"^data\.path=.*: cannot be read \("):
        texts(tmp_path)


def test_code_of_a_data_set_is_not_run(tmp_path):
    (tmp_path / "evil").mkdir()
    mark = tmp_path / "ran"
    (tmp_path / "evil" / "evil.py").write_text(f"open({str(mark)!r}, 'w')")
    with pytest.raises(ConfigError):
        texts(tmp_path / "evil")
    assert not mark.exists()


def test_what_others_say_meanwhile_is_said_again_afterwards():
    import logging

    speaker = logging.getLogger("datasets")
    before = speaker.level
    with rows._one_line("it"):
        assert not speaker.isEnabledFor(logging.ERROR)
    assert speaker.level == before
