"""GPT-2 and its kin in plain linear layers compute what they computed before."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_updates import updates
from tiny_hf import tiny_bert, tiny_gpt2, tiny_llama
from torch import nn

from lowrank_bench.models.hf import classifier
from lowrank_bench.models.hf_nets import CausalNet
from lowrank_bench.models.spelt import published, published_state, spell_out
from lowrank_bench.prepare import prepare

Config = Callable[..., Any]


def ids() -> torch.Tensor:
    return torch.randint(0, 61, (3, 17), generator=torch.Generator().manual_seed(1))


def gradients(net: Any, x: torch.Tensor) -> dict[str, torch.Tensor]:
    net.zero_grad()
    net(x).square().sum().backward()
    return {n: p.grad for n, p in net.named_parameters()}


def other_kin(name: str) -> Any:
    from transformers import AutoConfig, AutoModelForCausalLM

    torch.manual_seed(0)
    sizes = {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64}
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(name, **sizes)).eval()


@pytest.mark.parametrize("make", [tiny_gpt2, lambda: other_kin("openai-gpt")])
def test_the_logits_stay_what_they_are(make: Callable[[], Any]) -> None:
    hf = make()
    with torch.no_grad():
        before = hf(ids()).logits
        spell_out(hf)
        after = hf(ids()).logits
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    kinds = {type(m).__name__ for m in hf.modules()}
    assert "Conv1D" not in kinds
    assert not hf.training and not any(m.training for m in hf.modules())


def test_q_k_and_v_are_layers_of_their_own() -> None:
    hf: Any = tiny_gpt2()
    fused = hf.transformer.h[1].attn.c_attn.weight.detach().clone()  # (32, 96)
    spell_out(hf)
    layer = hf.transformer.h[1].attn.c_attn
    assert [type(part) for part in (layer.q, layer.k, layer.v)] == [nn.Linear] * 3
    assert torch.equal(layer.k.weight, fused[:, 32:64].T)
    assert hf.lm_head.weight is hf.transformer.wte.weight


def test_the_gradients_stay_what_they_are() -> None:
    before = gradients(CausalNet(tiny_gpt2()), ids())
    net = CausalNet(tiny_gpt2())
    spell_out(net.hf)
    after = published_state(net, gradients(net, ids()))
    assert after.keys() == before.keys()
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-5)


def test_it_is_published_as_it_came() -> None:
    theirs = tiny_gpt2()
    net = CausalNet(tiny_gpt2())
    spell_out(net.hf)
    again = published(net)
    state = again.hf.state_dict()
    assert state.keys() == theirs.state_dict().keys()
    assert all(torch.equal(state[n], t) for n, t in theirs.state_dict().items())
    assert type(again.hf) is type(theirs)
    assert again.hf.lm_head.weight is again.hf.transformer.wte.weight


def test_a_model_of_plain_layers_is_left_alone() -> None:
    net = CausalNet(tiny_llama())
    before = dict(net.named_modules())
    spell_out(net.hf)
    assert dict(net.named_modules()) == before
    assert published(net) is net
    assert published_state(net, net.state_dict()).keys() == net.state_dict().keys()


def test_it_works_without_values() -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.device("meta"):
        hf: Any = GPT2LMHeadModel(GPT2Config(n_embd=32, n_layer=2, n_head=4))
    count = sum(p.numel() for p in hf.parameters())
    spell_out(hf)
    assert all(p.is_meta for p in hf.parameters())
    assert sum(p.numel() for p in hf.parameters()) == count


@pytest.mark.parametrize("recipe", ["full", "lora", "galore", "pissa"])
@pytest.mark.parametrize(("targets", "hits"), [("attention", 8), ("mlp", 4), ("qv", 4)])
def test_methods_act_on_gpt2(
    over_bytes: Config, tmp_path: Path, recipe: str, targets: str, hits: int
) -> None:
    path = tmp_path / "gpt2"
    tiny_gpt2(vocab_size=257).save_pretrained(path)
    cfg = over_bytes(
        "model=hf_causal_lm", f"method={recipe}", f"method.targets={targets}", "lr=0.01"
    )
    cfg.model.path = str(path)
    prepared = prepare(cfg)
    assert len(prepared.method.targets) == hits
    losses = updates(prepared, 4)
    assert losses[-1] < losses[0]


@torch.no_grad()
def test_a_classifier_of_gpt2_gives_the_logits_of_its_model(tmp_path: Path) -> None:
    from transformers import GPT2ForSequenceClassification

    config = tiny_gpt2(pad_token_id=60).config
    config.num_labels = 3
    torch.manual_seed(0)
    model: Any = GPT2ForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    net = classifier(
        path=str(tmp_path),
        gguf_file=None,
        load_weights=True,
        dtype="float32",
        revision=None,
        trust_remote_code=False,
        cache=None,
        vocab_size=61,
        num_classes=3,
        output="hf.score",
        head_rule="kept",
    ).eval()
    x = ids().clamp(max=59)
    torch.testing.assert_close(net(x), model(x).logits, rtol=0, atol=1e-5)


def test_sequences_may_be_as_long_as_positions_that_padding_leaves() -> None:
    """RoBERTa's 514 positions are 512 and two."""
    from transformers import RobertaConfig, RobertaForSequenceClassification

    from lowrank_bench.models.hf_nets import positions

    sizes: Any = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = RobertaConfig(max_position_embeddings=34, pad_token_id=1, **sizes)
    assert positions(RobertaForSequenceClassification(config)) == 32
    assert positions(tiny_bert()) == 64
    assert positions(tiny_gpt2()) == 64
