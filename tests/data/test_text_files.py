import json
import os
import sys

import polars
import pytest

from lowrank_bench.data.text_files import LabelledFiles, PromptFiles, TextFiles
from lowrank_bench.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    """Seven documents in five files of all kinds, and a file that is none."""
    root = tmp_path / "texts"
    (root / "more").mkdir(parents=True)
    (root / "b.txt").write_text("second file\nwith two lines")
    (root / "a.txt").write_text("né", encoding="utf-8")
    (root / "empty.txt").write_text("")
    rows = [{"text": "r1", "n": 1}, {"text": "", "n": 2}, {"text": None, "n": 3}, {"text": "r4"}]
    (root / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    polars.DataFrame({"text": ["p1", "p2"], "body": ["q1", "q2"]}).write_parquet(
        root / "more" / "table.parquet"
    )
    (root / "notes.md").write_text("not read")
    return root


def texts(path, **options):
    return [document.text for document in TextFiles(path, **options).documents()]


def line_of(make):
    with pytest.raises(ConfigError) as caught:
        make()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_file_of_text_is_a_document(folder):
    assert texts(str(folder / "b.txt")) == ["second file\nwith two lines"]


def test_each_row_is_a_document_and_empty_ones_are_left_out(folder):
    assert texts(str(folder / "rows.jsonl")) == ["r1", "r4"]
    assert texts(str(folder / "more" / "table.parquet")) == ["p1", "p2"]
    assert texts(str(folder / "more" / "table.parquet"), column="body") == ["q1", "q2"]


def test_a_folder_is_all_below_it_in_sorted_order(folder):
    assert texts(str(folder)) == ["né", "second file\nwith two lines", "p1", "p2", "r1", "r4"]


def test_a_pattern_and_a_list_name_files(folder):
    assert texts(str(folder / "?.txt")) == ["né", "second file\nwith two lines"]
    assert texts(str(folder / "**" / "*.parquet")) == ["p1", "p2"]
    listed = [str(folder / "rows.jsonl"), str(folder / "a.txt")]
    assert texts(listed) == ["r1", "r4", "né"]


def test_home_is_written_as_a_tilde(folder, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    assert texts("~/a.txt") == ["né"]


def test_the_checksum_is_that_of_the_content(folder, tmp_path):
    before = TextFiles(str(folder)).checksum
    assert before == TextFiles(str(folder)).checksum
    (folder / "notes.md").write_text("still not read")
    assert TextFiles(str(folder)).checksum == before
    folder.rename(tmp_path / "moved")
    moved = tmp_path / "moved"
    assert TextFiles(str(moved)).checksum == before
    (moved / "a.txt").write_text("nè", encoding="utf-8")
    assert TextFiles(str(moved)).checksum != before


def test_a_file_is_hashed_once_while_it_stays_as_it_is(folder, monkeypatch):
    path = str(folder / "b.txt")
    before = TextFiles(path).checksum
    monkeypatch.setattr("hashlib.file_digest", None)
    assert TextFiles(path).checksum == before
    os.utime(path, ns=(1, 1))
    with pytest.raises(TypeError):
        _ = TextFiles(path).checksum


def test_how_a_file_is_read_is_part_of_the_key(folder):
    path = str(folder / "more" / "table.parquet")
    assert TextFiles(path).key == TextFiles(path).key
    assert TextFiles(path, column="body").key != TextFiles(path).key
    assert TextFiles(path, column="body").checksum == TextFiles(path).checksum
    assert PromptFiles(path).key != PromptFiles(path, template="{x}").key
    assert LabelledFiles(path).key != PromptFiles(path).key


def test_nothing_is_left_in_the_cache_of_datasets(folder, tmp_path, monkeypatch):
    import datasets.config

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    before = set(tmp_path.iterdir())
    texts(str(folder))
    assert set(tmp_path.iterdir()) == before


def test_a_checksum_loads_neither_torch_nor_datasets(folder):
    """The parent process of a sweep asks for it, and forks."""
    import subprocess

    code = f"""
import sys
from lowrank_bench.data.text_files import TextFiles
from lowrank_bench.data.hub import HubText
from lowrank_bench.data.python_docs import read
assert TextFiles({str(folder)!r}).checksum and HubText({str(folder)!r}).checksum
assert read().checksum
print(*{{"torch", "datasets", "transformers", "tokenizers", "pyarrow"}} & set(sys.modules))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "\n"


@pytest.mark.parametrize(
    "path, said",
    [
        ("no.txt", "there is no such file"),
        ("*.parquet", "holds no file that ends in .txt, .jsonl or .parquet"),
        ("nothing", "holds no file that ends in .txt, .jsonl or .parquet"),
        ("notes.md", "must end in .txt, .jsonl or .parquet"),
        ("notes", "there is no such file"),
        ("", "must be a file, a folder or a pattern"),
        (3, "must be a file, a folder or a pattern"),
    ],
)
def test_a_path_that_names_no_text_is_one_line(folder, monkeypatch, path, said):
    monkeypatch.chdir(folder)
    (folder / "nothing").mkdir()
    for given in (path, [path]):
        line = line_of(lambda given=given: TextFiles(given).paths)
        assert line.startswith("data.path=") and line.endswith(said)
        assert str(path) in line


def test_a_list_of_nothing_is_one_line():
    assert line_of(lambda: TextFiles([]).paths) == "data.path=[]: names no file"


def test_bytes_that_are_not_utf_8_are_told_their_place(folder):
    (folder / "a.txt").write_bytes(b"caf\xe9 au lait")
    line = line_of(lambda: texts(str(folder)))
    assert line.startswith(f"data.path={folder / 'a.txt'}: byte 3 is not UTF-8 (")


@pytest.mark.parametrize("file", ["rows.jsonl", "more/table.parquet"])
def test_an_unknown_column_is_told_those_that_there_are(folder, file):
    line = line_of(lambda: texts(str(folder / file), column="txet"))
    assert line.startswith(f"data.column=txet: no such column in data.path={folder / file}; ")
    assert "did you mean 'text'? (there is: " in line


def test_a_column_that_holds_no_text_is_one_line(folder):
    line = line_of(lambda: texts(str(folder / "rows.jsonl"), column="n"))
    assert line == f"data.column=n: holds int, not text, in data.path={folder / 'rows.jsonl'}"


@pytest.mark.parametrize(
    "name, content",
    [
        ("x.jsonl", b'{"text": "fine"}\nnot json\n'),
        ("x.jsonl", b'{"text": "caf\xe9"}\n'),
        ("x.parquet", b"PAR1 and nothing more"),
    ],
)
def test_a_broken_file_is_one_line(folder, name, content):
    (folder / name).write_bytes(content)
    line = line_of(lambda: texts(str(folder / name)))
    assert line.startswith(f"data.path={folder / name}: cannot be read (")


def test_without_datasets_it_says_what_to_install(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    assert texts(str(folder / "a.txt")) == ["né"]
    line = line_of(lambda: texts(str(folder / "rows.jsonl")))
    assert line.endswith("needs datasets; pip install 'lowrank-bench[hf]'")


def test_a_file_that_may_not_be_read_is_one_line(folder, monkeypatch):
    def refuse(*_args, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    line = line_of(lambda: TextFiles(str(folder / "b.txt")).checksum)
    assert line == f"data.path={folder / 'b.txt'}: cannot be read (Permission denied)"
