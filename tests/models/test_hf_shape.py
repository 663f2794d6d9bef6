"""Architectures by their config alone: real runs from scratch, and mistakes in one line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_updates import updates
from tiny_hf import tiny_bert, tiny_llama

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.hf_shape import hf_shape
from lowrank_bench.prepare import build_model, prepare

Config = Callable[..., Any]
GPT2 = {"model_type": "gpt2", "vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4}


def built(**changes: Any) -> Any:
    given = {"path": None, "settings": GPT2, "kind": "causal_lm", "tokens": 61, "num_classes": None}
    return hf_shape(**{**given, **changes})


@pytest.mark.parametrize("as_folder", [True, False])
def test_a_config_json_gives_its_model_with_weights_of_its_own(
    composed: Config, tmp_path: Path, as_folder: bool
) -> None:
    theirs = tiny_llama()
    theirs.config.save_pretrained(tmp_path)
    cfg = composed("data=random_tokens", "model=hf_config", "data.vocab_size=61")
    cfg.model.path = str(tmp_path if as_folder else tmp_path / "config.json")
    torch.manual_seed(0)
    net: Any = build_model(cfg)
    torch.manual_seed(0)
    same = type(theirs)(theirs.config)
    assert net.hf.config.num_key_value_heads == 2
    assert all(torch.equal(net.hf.state_dict()[n], t) for n, t in same.state_dict().items())


def test_settings_beside_a_path_are_otherwise(tmp_path: Path) -> None:
    tiny_llama().config.save_pretrained(tmp_path)
    net = built(path=str(tmp_path), settings={"num_hidden_layers": 1})
    assert len(net.hf.model.layers) == 1
    assert net.hf.config.hidden_size == 32


@pytest.mark.parametrize("recipe", ["full", "lora"])
def test_a_shape_trains_from_scratch(composed: Config, recipe: str) -> None:
    cfg = composed(
        *("data=random_tokens", "data.vocab_size=61", "data.length=16", "data.examples=200"),
        *("model=gpt2_medium", f"method={recipe}", "lr=0.01", "budget.batch_size=4"),
    )
    for key, value in {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 61}.items():
        cfg.model.settings[key] = value
    prepared = prepare(cfg)
    assert len(prepared.method.targets) == 12
    losses = updates(prepared, 4)
    assert losses[-1] < losses[0]


def test_a_classifier_trains_on_random_tokens(composed: Config, tmp_path: Path) -> None:
    tiny_bert().config.save_pretrained(tmp_path)
    cfg = composed(
        *("data=random_tokens", "data.vocab_size=61", "data.length=16", "data.examples=200"),
        *("data.num_classes=3", "model=hf_classifier_config", "method=lora", "lr=0.01"),
        *("budget.batch_size=4", "base.head=fresh", "model.trains=[]"),
    )
    cfg.model.path = str(tmp_path)
    prepared = prepare(cfg)
    trained = {n for n, p in prepared.model.named_parameters() if p.requires_grad}
    assert {n.split(".")[-1] for n in trained} == {"A", "B", "weight", "bias"}
    assert {n for n in trained if "classifier" in n} == {
        "hf.classifier.weight",
        "hf.classifier.bias",
    }
    losses = updates(prepared, 4)
    assert losses[-1] < losses[0]


def test_a_model_without_a_head_is_there_to_be_counted() -> None:
    net = built(kind="bare")
    assert not hasattr(net.hf, "lm_head")
    with pytest.raises(ConfigError, match=r"^model\.kind=bare: has no head to train by"):
        net(torch.zeros(1, 4, dtype=torch.long))


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"settings": {}}, "model.path=null: names no architecture; say model.path=config.json"),
        ({"settings": {"model_type": "gpt3"}}, "model.settings.model_type=gpt3: transformers kno"),
        (
            {"settings": GPT2 | {"n_layr": 2}},
            "model.settings.n_layr: gpt2 has no such; did you mean 'n_layer'?",
        ),
        ({"settings": GPT2 | {"n_head": 5}}, "model.settings.model_type=gpt2: cannot be loaded"),
        ({"kind": "decoder"}, "model.kind=decoder: must be one of causal_lm, classifier, bare"),
        ({"kind": "classifier"}, "model.num_classes=None: must be a whole number from 2 on"),
        ({"tokens": 62}, "data.vocab_size=62: the model knows 61 tokens"),
        (
            {"settings": {"model_type": "vit"}},
            "model.kind=causal_lm: transformers has none of vit",
        ),
        (
            {
                "settings": {
                    "model_type": "bert",
                    "vocab_size": 61,
                    "hidden_size": 32,
                    "num_attention_heads": 2,
                    "num_hidden_layers": 1,
                }
            },
            "model.settings.model_type=bert: BertLMHeadModel looks at later tokens",
        ),
        ({"path": "/nowhere"}, "model.path=/nowhere: there is no such file or folder"),
    ],
)
def test_a_shape_that_cannot_be_is_refused_in_one_line(
    changes: dict[str, Any], line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError) as refused:
        built(**changes)
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr() == ("", "")


def test_a_folder_or_file_that_holds_no_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^model\.path=.*: there is no config\.json in it$"):
        built(path=str(tmp_path))
    file = tmp_path / "config.json"
    for content, said in (("{", "cannot be read as JSON"), ("[]", "is no config.json")):
        file.write_text(content)
        with pytest.raises(ConfigError, match=said):
            built(path=str(file))
    file.write_text(json.dumps({"hidden_size": 3}))
    with pytest.raises(ConfigError, match="names no architecture"):
        built(path=str(file), settings={})


def test_a_sequence_longer_than_the_positions_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^data\.length=65: the model has 64 positions"):
        built(settings=GPT2 | {"n_positions": 64})(torch.zeros(1, 65, dtype=torch.long))
