from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_updates import updates
from omegaconf import OmegaConf
from transformers import LlamaForCausalLM

from lowrank_bench.checks import check
from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.models.checkpointing import checkpoint_activations
from lowrank_bench.names import match
from lowrank_bench.prepare import build_model, prepare

Config = Callable[..., Any]

# The configs that GaLore (arXiv 2403.03507), ReLoRA (2307.05695) and APOLLO (2412.05270) publish
PUBLISHED = {
    "9m": 8_995_968,
    "20m": 19_548_416,
    "35m": 35_197_824,
    "60m": 58_073_600,
    "130m": 134_105_856,
    "250m": 247_370_496,
    "350m": 367_969_280,
    "1b": 1_339_082_752,
    "3b": 2_685_831_680,
    "7b": 6_738_415_616,
    "13b": 13_015_864_320,
}
FROM_SCRATCH = ["full", "lowrank", "lora", "relora", "galore", "fira", "apollo", "sltrain", "cola"]


def test_every_size_is_one_that_we_know() -> None:
    found = {path.stem for path in (config_dir() / "model").glob("llama_*.yaml")}
    others = {"llama_65b", "llama_70b"}  # test_shapes.py
    assert found - others == {f"llama_{size}" for size in [*PUBLISHED, "tiny", "micro"]}


@pytest.mark.parametrize("size", PUBLISHED)
def test_a_size_has_the_published_number_of_parameters(over_bytes: Config, size: str) -> None:
    with torch.device("meta"):
        model = build_model(over_bytes(f"model=llama_{size}"))
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED[size]
    assert f"{PUBLISHED[size]:,} parameters" in _caption(f"llama_{size}")


@pytest.mark.parametrize("size", ["tiny", "micro"])
def test_a_small_size_is_as_large_as_it_says(over_bytes: Config, size: str) -> None:
    model = build_model(over_bytes(f"model=llama_{size}"))
    count = sum(p.numel() for p in model.parameters())
    assert f"{count:,} parameters" in _caption(f"llama_{size}")


def _caption(name: str) -> str:
    return (config_dir() / "model" / f"{name}.yaml").read_text().splitlines()[0]


def test_the_vocabulary_of_a_published_size_can_be_said(over_bytes: Config) -> None:
    with torch.device("meta"):
        model = build_model(over_bytes("model=llama_9m", "model.vocab_size=257"))
    assert sum(p.numel() for p in model.parameters()) == PUBLISHED["9m"] - 2 * 128 * (32000 - 257)


def test_it_starts_as_transformers_does(over_bytes: Config) -> None:
    model: Any = build_model(over_bytes("model=llama_micro"))
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            assert float(parameter.detach().std()) == pytest.approx(0.02, rel=0.05), name


SHAPES = {
    "plain": (),
    "grouped": ("model.kv_heads=2",),
    "one k and v": ("model.kv_heads=1", "model.head_dim=10", "model.rope_theta=500000"),
    "tied": ("model.tied=true", "model.kv_heads=2", "model.head_dim=32"),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_it_computes_what_transformers_computes(over_bytes: Config, shape: tuple[str, ...]) -> None:
    model: Any = build_model(over_bytes("model=llama_micro", *shape))
    theirs = model.published()
    assert type(theirs.hf).__name__ == "LlamaForCausalLM"
    x = torch.randint(0, 257, (2, 12))
    x[0, 9:] = -1
    torch.testing.assert_close(model(x), theirs(x), rtol=0, atol=1e-6)
    for net in (model, theirs):
        net(x).square().mean().backward()
    found, expected = ({n: p.grad for n, p in net.named_parameters()} for net in (model, theirs))
    assert found.keys() == expected.keys()
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("shape", [SHAPES["plain"], SHAPES["grouped"]], ids=["plain", "grouped"])
def test_a_seed_draws_the_weights_that_it_draws_in_transformers(
    over_bytes: Config, shape: tuple[str, ...]
) -> None:
    torch.manual_seed(3)
    model: Any = build_model(over_bytes("model=llama_micro", *shape))
    config = model.published().hf.config
    torch.manual_seed(3)
    theirs: Any = LlamaForCausalLM(config)
    assert all(torch.equal(t, model.hf.state_dict()[n]) for n, t in theirs.state_dict().items())


def test_in_half_precision_its_angles_stay_fine(over_bytes: Config) -> None:
    """A cast of the frequencies would turn late positions by angles of their own."""
    model: Any = build_model(over_bytes("model=llama_micro", "model.layers=1"))
    x = torch.randint(0, 257, (1, 1500))
    expected = model(x)
    found = model.to(torch.bfloat16)(x).float()
    errors = (found - expected).abs().mean(-1)[0]  # (t)
    assert errors[-100:].mean() < 2 * errors[:100].mean()


@pytest.mark.parametrize("recipe", ["full", "lora", "galore"])
def test_a_tied_head_trains_with_the_embeddings(over_bytes: Config, recipe: str) -> None:
    cfg = over_bytes("model=llama_micro", "model.tied=true", f"method={recipe}", "lr=0.003")
    prepared = prepare(cfg)
    assert "hf.lm_head" not in prepared.method.targets
    losses = updates(prepared, 3)
    assert losses[-1] < losses[0]
    net: Any = prepared.model
    assert net.hf.lm_head.weight is net.hf.model.embed_tokens.weight


def test_a_tied_head_is_no_target_and_stands_not_apart(over_bytes: Config) -> None:
    cfg = over_bytes("model=llama_micro", "model.tied=true", "method.targets=['*']")
    with pytest.raises(ConfigError, match=r"^method\.targets: 'hf\.lm_head' shares its weight"):
        prepare(cfg)
    cfg = over_bytes("model=llama_micro", "model.tied=true", "base.head=frozen")
    with pytest.raises(ConfigError, match=r"^base\.head=frozen: 'hf\.lm_head' shares its weight"):
        prepare(cfg)


def test_padding_on_the_right_changes_nothing_before_it(over_bytes: Config) -> None:
    model: Any = build_model(over_bytes("model=llama_micro"))
    x = torch.randint(0, 257, (2, 12))
    padded = x.clone()
    padded[0, 7:] = -1
    torch.testing.assert_close(model(padded)[0, :7], model(x)[0, :7])
    assert model(x).shape == (2, 12, 257)


def test_no_token_sees_a_later_one(over_bytes: Config) -> None:
    model: Any = build_model(over_bytes("model=llama_micro"))
    x = torch.randint(0, 257, (1, 12))
    changed = x.clone()
    changed[0, 6] = (x[0, 6] + 1) % 257
    before, after = model(x)[0], model(changed)[0]
    torch.testing.assert_close(before[:6], after[:6])
    assert not torch.allclose(before[6:], after[6:])


@pytest.mark.parametrize(
    ("preset", "count"), [("attention", 16), ("mlp", 12), ("all-linear", 28), ("qv", 8)]
)
def test_a_preset_hits_its_layers_in_each_block(
    over_bytes: Config, preset: str, count: int
) -> None:
    _, _, method, *_ = prepare(over_bytes("model=llama_micro", f"method.targets={preset}"))
    assert len(method.targets) == count
    assert "hf.lm_head" not in method.targets


@pytest.mark.parametrize("recipe", FROM_SCRATCH)
def test_a_method_for_training_from_scratch_learns(over_bytes: Config, recipe: str) -> None:
    cfg = over_bytes("model=llama_micro", f"method={recipe}", "lr=0.003")
    check(cfg)
    prepared = prepare(cfg)
    model = prepared.model
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    losses = updates(prepared, 4)
    assert losses[-1] < losses[0]
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]) is not parameter.requires_grad, name


@pytest.mark.parametrize("recipe", FROM_SCRATCH)
def test_all_but_the_targets_trains_whole_from_scratch(over_bytes: Config, recipe: str) -> None:
    _, model, method, *_ = prepare(over_bytes("model=llama_micro", f"method={recipe}"))
    inside = tuple(f"{name}." for name in method.targets)
    outside = {n: p for n, p in model.named_parameters() if not n.startswith(inside)}
    assert {"hf.lm_head.weight", "hf.model.embed_tokens.weight", "hf.model.norm.weight"} < {
        *outside
    }
    assert all(p.requires_grad for p in outside.values())
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    has_frozen_base = recipe in ("lora", "relora")
    assert frozen == ({f"{n}.base.weight" for n in method.targets} if has_frozen_base else set())


def test_only_the_method_trains_on_a_base(over_bytes: Config, tokens_folder: Path) -> None:
    cfg = over_bytes(
        "model=llama_micro",
        "base=pretrained_here",
        "data@base.source=python_docs",
        f"base.source.cache={tokens_folder}",
        "base.source.length=32",
        "base.head=frozen",
        "method=lora",
    )
    _, model, *_ = prepare(cfg)
    assert {n.split(".")[-1] for n, p in model.named_parameters() if p.requires_grad} == {"A", "B"}


def test_what_trains_beside_the_targets_can_be_said(over_bytes: Config) -> None:
    cfg = over_bytes("model=llama_micro", "model.trains=['*norm.weight']", "method.head=null")
    _, model, *_ = prepare(cfg)
    trained = {n.split(".")[-2] for n, p in model.named_parameters() if p.requires_grad}
    assert {"norm", "input_layernorm"} < trained
    assert "embed_tokens" not in trained
    cfg.model.trains = ["*nomr*"]
    with pytest.raises(ConfigError, match=r"^model.trains: the glob '\*nomr\*' matches nothing"):
        prepare(cfg)


def test_checkpointed_blocks_give_the_same_gradients(over_bytes: Config) -> None:
    cfg = over_bytes("model=llama_micro")
    x = torch.randint(0, 257, (2, 12))
    gradients = []
    for is_checkpointed in (False, True):
        torch.manual_seed(0)
        model = build_model(cfg).train()
        if is_checkpointed:
            checkpoint_activations(model, cfg.model.blocks)
        model(x).square().mean().backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    torch.testing.assert_close(*gradients)


@pytest.mark.parametrize("size", [*PUBLISHED, "tiny", "micro"])
def test_the_blocks_are_all_layers(over_bytes: Config, size: str) -> None:
    cfg = over_bytes(f"model=llama_{size}")
    with torch.device("meta"):
        names = [name for name, _ in build_model(cfg).named_modules()]
    layers = [f"hf.model.layers.{layer}" for layer in range(cfg.model.layers)]
    assert match(OmegaConf.to_object(cfg.model.blocks), names, key="blocks") == layers  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("model.hidden=0", "model.hidden=0: must be a positive whole number"),
        ("model.layers=1.5", "model.layers=1.5: must be a positive whole number"),
        ("model.heads=5", "model.heads=5: must share out model.hidden=96 into even widths"),
        ("model.heads=32", "model.heads=32: must share out"),  # 3 each, and rotary wants pairs
        ("model.kv_heads=3", "model.kv_heads=3: must divide model.heads=4"),
        ("model.kv_heads=0", "model.kv_heads=0: must be a positive whole number"),
        ("model.head_dim=7", "model.head_dim=7: must be even"),
        ("model.rope_theta=1", "model.rope_theta=1: must be a number above 1"),
        ("model.tied=1", "model.tied=1: must be true or false"),
        ("model.vocab_size=100", "data.vocab_size=257: the model knows 100 tokens"),
        ("model.max_positions=16", "data.length=32: the model has 16 positions"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(over_bytes: Config, override: str, line: str) -> None:
    with pytest.raises(ConfigError) as refused:
        prepare(over_bytes("model=llama_micro", override))
    assert str(refused.value).startswith(line)
    assert "\n" not in str(refused.value)
