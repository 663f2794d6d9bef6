"""GPT-2 trains in plain linear layers and goes out as transformers has it; so does our LLaMA."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel

from lowrank_bench.errors import ConfigError
from lowrank_bench.export.export import export
from lowrank_bench.export.rebuilt import rebuilt

# PEFT asks transformers 5.23 by an old name.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated")

Trained = Callable[..., Path]


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gpt2")
    torch.manual_seed(0)
    sizes: Any = {"vocab_size": 257, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0)).save_pretrained(folder)
    return folder


@pytest.fixture
def run(trained: Trained, tiny: Path) -> Path:
    data = ("data=random_tokens", "data.vocab_size=257", "data.length=16", "data.examples=200")
    model = ("model=hf_causal_lm", f"model.path={tiny}", "base=from_model", "logger=local")
    return trained(*data, *model, "method=lora", "method.targets=qv", "lr=0.02", "epochs=2")


@torch.no_grad()
def drift(model: Any, run: Path) -> float:
    x = torch.randint(256, (3, 16), generator=torch.Generator().manual_seed(1))
    expected = rebuilt(run).model(x)
    return float((model.eval()(input_ids=x).logits - expected).abs().max())


def test_the_merged_model_is_one_of_transformers(run: Path, tmp_path: Path, tiny: Path) -> None:
    out = export(run, "merged", tmp_path / "out").out
    theirs, ours = (load_file(f / "model.safetensors") for f in (tiny, out))
    assert {n: t.shape for n, t in ours.items()} == {n: t.shape for n, t in theirs.items()}
    assert drift(AutoModelForCausalLM.from_pretrained(out), run) < 1e-5
    assert drift(AutoModelForCausalLM.from_pretrained(tiny), run) > 1e-3


def test_the_difference_fits_the_base(run: Path, tmp_path: Path, tiny: Path) -> None:
    out = export(run, "dense-delta", tmp_path / "out").out
    delta = load_file(out / "delta.safetensors")
    assert set(delta) == {f"transformer.h.{i}.attn.c_attn.weight" for i in range(2)}
    first = delta["transformer.h.0.attn.c_attn.weight"]  # (32, 96): q, k, v
    assert not first[:, 32:64].any() and first[:, :32].any() and first[:, 64:].any()
    model: Any = AutoModelForCausalLM.from_pretrained(tiny)
    with torch.no_grad():
        for name, change in delta.items():
            model.state_dict()[name] += change
    assert drift(model, run) < 1e-5


def test_an_adapter_of_what_transformers_has_not_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        export(run, "peft", tmp_path / "out")
    assert str(error.value) == (
        "--to peft: 'transformer.h.0.attn.c_attn.q' is no linear layer of its own in transformers "
        "(GPT2LMHeadModel); say --to merged or --to dense-delta"
    )
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("to", ["merged", "peft"])
def test_a_llama_of_ours_goes_out_as_one_of_transformers(
    trained: Trained, tmp_path: Path, to: str
) -> None:
    data = ("data=random_tokens", "data.vocab_size=257", "data.length=16", "data.examples=200")
    run = trained(
        *(*data, "model=llama_micro", "model.layers=1", "model.kv_heads=2", "logger=local"),
        *("method=lora", "lr=0.02", "epochs=1", "model.trains=[]", "method.head=null"),
    )
    out = export(run, to, tmp_path / "out").out
    if to == "merged":
        assert drift(AutoModelForCausalLM.from_pretrained(out), run) < 1e-5
    else:
        from peft import AutoPeftModelForCausalLM

        assert drift(AutoPeftModelForCausalLM.from_pretrained(out), run) < 1e-5
