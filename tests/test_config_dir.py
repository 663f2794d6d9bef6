"""A mistake in a YAML of a user's folder is one line, in all three places that read it."""

from pathlib import Path

import pytest

from lowrank_bench import load_method, methods_cli
from lowrank_bench.errors import ConfigError

MISTAKES = {
    "defaults: [lora, _self_\nname: mine\n": "mine.yaml: is no YAML: while parsing",
    "\tname: mine": "mine.yaml: is no YAML",
    "- lora\n": "mine.yaml: must hold keys and values, as `name: mine`",
    "": "mine.yaml: must hold keys and values",
    "name: mine\n": "mine.yaml: has no list of defaults; a recipe begins with",
    "defaults: lora\nname: mine\n": "mine.yaml: has no list of defaults",
    "defaults: [lorra, _self_]\nname: mine\n": "no other recipe 'lorra'; did you mean 'lora'?",
    "defaults: [mine, _self_]\nname: mine\n": "defaults: there is no other recipe 'mine'",
    "defaults: [lora, _self_]\n": "mine.yaml: has no name; reports list it by that",
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_recipe_that_is_none_is_told_in_one_line(tmp_path: Path, text: str, capsys) -> None:
    (tmp_path / "method").mkdir()
    (tmp_path / "method" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        load_method("mine", config_dir=tmp_path)
    assert MISTAKES[text] in str(error.value)
    assert "\n" not in str(error.value)
    for words in ([], ["mine"], ["--slots"]):
        assert methods_cli.main([*words, "--config-dir", str(tmp_path)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert MISTAKES[text] in line


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "method" / "init").mkdir(parents=True)
    (tmp_path / "method" / "init" / "mine.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"mine\.yaml: is no YAML: 'utf-8' codec"):
        load_method("lora", config_dir=tmp_path)


def test_a_recipe_may_inherit_another_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    for name, parent in (("mine", "lora"), ("other", "mine")):
        text = f"defaults: [{parent}, _self_]\nname: {name}\n"
        (tmp_path / "method" / f"{name}.yaml").write_text(text)
    assert load_method("other", config_dir=tmp_path).name == "other"


def test_yaml_beside_the_config_groups_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "broken.yaml").write_text("a: [")
    assert load_method("lora", config_dir=tmp_path).name == "lora"


def test_recipes_that_inherit_in_a_circle_are_told_which(tmp_path: Path) -> None:
    (tmp_path / "method").mkdir()
    for name, parent in (("one", "two"), ("two", "three"), ("three", "one")):
        text = f"defaults: [{parent}, _self_]\nname: {name}\n"
        (tmp_path / "method" / f"{name}.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"recipes inherit in a circle: (one|two|three) -> "):
        load_method("one", config_dir=tmp_path)
