"""Models of transformers go out under their own names, for plain transformers and PEFT."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors.torch import load_file
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
)

from lowrank_bench.export.export import export
from lowrank_bench.export.rebuilt import rebuilt

# PEFT asks transformers 5.23 by an old name.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated",
    "ignore:Model has `tie_word_embeddings=True` and a tied layer is part",  # both go along
)

Trained = Callable[..., Path]
Llama = Callable[..., Path]

NORMS = "method.trainable=['*.A','*.B','*norm.weight']"
EMBEDDINGS = "method.trainable=['*.A','*.B','*embed_tokens.weight']"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random llama over bytes, whose head shares the embedding, and a text to train it on."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=257,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    (folder / "text.txt").write_text("the quick brown fox jumps over the lazy dog. " * 100)
    return folder


@pytest.fixture
def llama(trained: Trained, tiny: Path) -> Llama:
    """`llama("method=lora")` is a run of two epochs that began with the tiny model."""
    data = ("data=text", f"data.path={tiny}/text.txt", "data.length=32", f"data.cache={tiny}/ids")
    model = ("model=hf_causal_lm", f"model.path={tiny}", "base=from_model", "logger=local")
    return lambda *more: trained(*data, *model, "rank=2", "lr=0.02", "epochs=2", *more)


def ids() -> Tensor:
    return torch.randint(256, (3, 20), generator=torch.Generator().manual_seed(1))


@torch.no_grad()
def same(model: Any, run: Path, bound: float = 1e-5) -> bool:
    """Whether a model of transformers gives the logits of the run's, and not its base's."""
    expected = rebuilt(run).model(ids())
    found = model.eval()(input_ids=ids()).logits
    with_base = AutoModelForCausalLM.from_pretrained(base_of(run))(input_ids=ids()).logits
    assert (with_base - expected).abs().max() > 100 * bound
    return bool((found - expected).abs().max() < bound)


def base_of(run: Path) -> str:
    config = OmegaConf.create(json.loads((run / "record.json").read_text())["config"])
    return config.model.path


@pytest.mark.parametrize(
    "method",
    [
        ["method=lora"],
        ["method=dora"],
        ["method=pissa"],
        ["method=adalora"],
        pytest.param(["method=vera"], marks=pytest.mark.slow),
        pytest.param(["method=relora", "epochs=8"], marks=pytest.mark.slow),
        pytest.param(["method=lora_ga"], marks=pytest.mark.slow),
        pytest.param(["method=loha"], marks=pytest.mark.slow),
        pytest.param(["method=ia3"], marks=pytest.mark.slow),
        ["method=lora", NORMS],
        ["method=lora", EMBEDDINGS],
    ],
    ids=" ".join,
)
def test_plain_transformers_and_peft_load_the_adapter(
    llama: Llama, tmp_path: Path, method: list[str]
) -> None:
    run = llama(*method)
    out = export(run, "peft", tmp_path / "out").out
    assert sorted(f.name for f in out.iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",  # the base lies where the run found it
    ]
    base = AutoModelForCausalLM.from_pretrained(base_of(run))
    assert same(PeftModel.from_pretrained(base, str(out)), run)


def test_the_adapter_names_its_base(llama: Llama, tmp_path: Path) -> None:
    run = llama("method=lora")
    out = export(run, "peft", tmp_path / "out").out
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["task_type"] == "CAUSAL_LM"
    assert set(config["target_modules"]) == {
        *("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    }
    assert same(AutoPeftModelForCausalLM.from_pretrained(str(out)), run)


def test_targets_that_endings_cannot_tell_are_a_pattern(llama: Llama, tmp_path: Path) -> None:
    run = llama("method=lora", "method.targets=['*.1.*.q_proj']")
    out = export(run, "peft", tmp_path / "out").out
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["target_modules"] == r"model\.layers\.1\.self_attn\.q_proj"
    base = AutoModelForCausalLM.from_pretrained(base_of(run))
    assert same(PeftModel.from_pretrained(base, str(out)), run)


@pytest.mark.parametrize("method", ["lora", "full", pytest.param("pissa", marks=pytest.mark.slow)])
def test_plain_transformers_loads_the_merged_model(
    llama: Llama, tmp_path: Path, method: str
) -> None:
    run = llama(f"method={method}")
    out = export(run, "merged", tmp_path / "out").out
    merged = AutoModelForCausalLM.from_pretrained(out)
    assert same(merged, run)
    assert merged.lm_head.weight is merged.model.embed_tokens.weight


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_difference_has_the_names_of_transformers(
    llama: Llama, tmp_path: Path, method: str
) -> None:
    run = llama(f"method={method}")
    out = export(run, "dense-delta", tmp_path / "out").out
    delta = load_file(out / "delta.safetensors")
    model = AutoModelForCausalLM.from_pretrained(base_of(run))
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, change in delta.items():
            parameters[name].add_(change)
    assert same(model, run)
    assert ("model.embed_tokens.weight" in delta) is (method == "full")  # once, though shared


def test_the_files_of_the_base_stay_as_they_are(llama: Llama, tmp_path: Path, tiny: Path) -> None:
    before = {f: f.read_bytes() for f in tiny.glob("*.*")}
    for to in ("peft", "merged", "dense-delta"):
        export(llama("method=lora"), to, tmp_path / to)
    assert {f: f.read_bytes() for f in tiny.glob("*.*")} == before


def test_a_base_trained_here_goes_along(trained: Trained, tmp_path: Path, tiny: Path) -> None:
    run = trained(
        *("model=llama_micro", "model.hidden=32", "model.ff=48", "model.layers=1", "model.heads=2"),
        *("data=text", f"data.path={tiny}/text.txt", "data.length=32", f"data.cache={tiny}/ids"),
        *("base=scratch", "method=lora", "rank=2", "epochs=1", "logger=local"),
    )
    out = export(run, "peft", tmp_path / "out").out
    config = json.loads((out / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == str(out / "base")
    model = AutoPeftModelForCausalLM.from_pretrained(str(out)).eval()
    with torch.no_grad():
        expected = rebuilt(run).model(ids())
        assert (model(input_ids=ids()).logits - expected).abs().max() < 1e-5


def test_a_fresh_head_of_a_classifier_goes_along(
    trained: Trained, tmp_path: Path, tiny: Path
) -> None:
    rows = [json.dumps({"text": w * 3, "label": w}) for w in ("yes", "no") for _ in range(60)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    run = trained(
        *("model=hf_classifier", f"model.path={tiny}", "model.head=hf.score", "base=from_model"),
        *("data=text_classification", f"data.path={tmp_path}/rows.jsonl", "data.num_classes=2"),
        *("data.length=16", f"data.cache={tmp_path}/ids", "base.head=fresh", "method=pissa"),
        *("rank=2", "lr=0.02", "epochs=2", "logger=local"),
    )
    with torch.no_grad():
        expected = rebuilt(run).model(ids())
        for to in ("peft", "merged"):
            out = export(run, to, tmp_path / to).out
            where = base_of(run) if to == "peft" else out
            kind: Any = AutoModelForSequenceClassification
            model = kind.from_pretrained(where, num_labels=2, pad_token_id=expected.shape[-1])
            if to == "peft":
                model = PeftModel.from_pretrained(model, str(out))
            found = model.eval()(input_ids=ids(), attention_mask=torch.ones_like(ids())).logits
            assert (found - expected).abs().max() < 1e-5
    assert export(run, "dense-delta", tmp_path / "delta").drift < 1e-5
