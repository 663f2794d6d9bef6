"""The shapes that are there to be planned with: their sizes, to the parameter, and their layers."""

import time
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lowrank_bench.config_dir import config_dir
from lowrank_bench.names import match
from lowrank_bench.prepare import build_model

Config = Callable[..., Any]

# As transformers' config classes count them, with the published sizes in mind: GPT-2 354.92M and
# 774.03M, and adapters on them (Hu 2021, arXiv 2106.09685, table 3); RoBERTa 125M and 355.0M (its
# table 2); DeBERTaV3 184M (Zhang 2023, arXiv 2303.10512, table 1); BART 406M; GPT-3 175B. Blocks;
# linear layers in attention, in the MLP; r (i + o) summed over q and v at rank 1.
SHAPES = {
    "llama_65b": (65_285_660_672, 80, 320, 240, 80 * 2 * 2 * 8192),
    "llama_70b": (68_976_648_192, 80, 320, 240, 80 * (2 * 8192 + 8192 + 1024)),
    "llama2_7b": (6_738_415_616, 32, 128, 96, 32 * 2 * 2 * 4096),
    "llama3_8b": (8_030_261_248, 32, 128, 96, 32 * (2 * 4096 + 4096 + 1024)),
    "llama3_2_3b": (3_212_749_824, 28, 112, 84, 28 * ((3072 + 3072) + (3072 + 1024))),
    "gpt2_medium": (354_823_168, 24, 96, 48, 393_216 // 4),
    "gpt2_large": (774_030_080, 36, 144, 72, 737_280 // 4),
    "gpt3_175b": (174_604_259_328, 96, 384, 192, 4_718_592),
    "roberta_base": (124_645_632, 12, 48, 24, 294_912 // 8),
    "roberta_large": (355_359_744, 24, 96, 48, 786_432 // 8),
    "deberta_v3_base": (183_831_552, 12, 48, 24, 12 * 4 * 768),
    "deberta_v2_xxlarge": (1_564_549_632, 48, 192, 96, 48 * 4 * 1536),
    "bart_large": (406_291_456, 24, 144, 48, 36 * 4 * 1024),
}
CLASSIFIERS = {  # what a head for three classes adds
    "roberta_base": -(768 * 768 + 768) + (768 * 768 + 768) + 3 * 768 + 3,  # it has no pooler
    "roberta_large": 3 * 1024 + 3,
    "deberta_v3_base": (768 * 768 + 768) + 3 * 768 + 3,
    "deberta_v2_xxlarge": (1536 * 1536 + 1536) + 3 * 1536 + 3,
}


class Whole(TorchDispatchMode):
    """Answers whether there is no padding, which transformers asks of a mask, by yes."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            return True
        return func(*args, **(kwargs or {}))


class Shape(NamedTuple):
    """What is asked of a model, which itself would be a hundred thousand objects to keep."""

    cfg: Any
    parameters: int
    in_head: int
    linear: dict[str, int]  # in + out features
    modules: list[str]


@pytest.fixture(scope="module")
def seen() -> dict[str, Shape]:
    return {}


@pytest.fixture
def shape(composed: Config, seen: dict[str, Shape]) -> Callable[[str], Shape]:
    """A shape as it is, built once for all tests."""

    def look(name: str) -> Shape:
        cfg, model = on_meta(composed, name)
        modules = dict(model.named_modules())
        layers = {n: m for n, m in modules.items() if isinstance(m, nn.Linear)}
        return Shape(
            cfg,
            count(model),
            count(modules[cfg.model.head]) if cfg.model.head else 0,
            {n: m.in_features + m.out_features for n, m in layers.items()},
            list(modules),
        )

    return lambda name: seen.get(name) or seen.setdefault(name, look(name))


def on_meta(composed: Config, name: str, *more: str) -> tuple[Any, nn.Module]:
    cfg = composed("data=random_tokens", f"model={name}", "data.num_classes=3", *more)
    with torch.device("meta"):
        return cfg, build_model(cfg)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def test_every_shape_is_one_that_we_know() -> None:
    with_settings = {
        path.stem
        for path in (config_dir() / "model").glob("*.yaml")
        if "\nsettings:\n" in path.read_text() or path.stem.startswith(("llama2", "llama3"))
    }
    assert with_settings | {"llama_65b", "llama_70b"} == set(SHAPES)


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_its_parameters_to_the_last(
    composed: Config, shape: Callable[[str], Shape], name: str
) -> None:
    if name in CLASSIFIERS:
        found = count(on_meta(composed, name, "model.kind=bare")[1])
    else:
        found = shape(name).parameters
    assert found == SHAPES[name][0]
    caption = (config_dir() / "model" / f"{name}.yaml").read_text().splitlines()[0]
    assert f"{SHAPES[name][0]:,} parameters" in caption


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_is_the_bare_model_and_its_head(
    shape: Callable[[str], Shape], name: str
) -> None:
    assert shape(name).parameters == SHAPES[name][0] + CLASSIFIERS[name]


def test_the_head_of_roberta_is_what_its_adapters_are_counted_with(
    shape: Callable[[str], Shape],
) -> None:
    """microsoft/LoRA's README counts 887,811 of RoBERTa-base: adapters of rank 8 and the head."""
    assert shape("roberta_base").in_head + 8 * SHAPES["roberta_base"][4] == 887_811


def test_bart_counts_as_published_with_the_vocabulary_of_its_authors(composed: Config) -> None:
    """fairseq's has a token less, and so 406,290,432 parameters."""
    _, model = on_meta(composed, "bart_large", "model.settings.vocab_size=50264")
    assert count(model) == 406_290_432


@pytest.mark.parametrize("name", SHAPES)
def test_the_presets_of_a_shape_hit_its_layers(shape: Callable[[str], Shape], name: str) -> None:
    cfg, _, _, layers, modules = shape(name)
    _, blocks, attention, mlp, qv = SHAPES[name]
    presets: Any = OmegaConf.to_object(cfg.model.presets)
    hits = {key: match(globs, layers, key=key) for key, globs in presets.items()}
    assert {key: len(names) for key, names in hits.items() if key != "qv"} == {
        "attention": attention,
        "mlp": mlp,
        "all-linear": attention + mlp,
    }
    assert set(hits["all-linear"]) == {*hits["attention"], *hits["mlp"]}
    assert sum(layers[n] for n in hits["qv"]) == qv
    globs: Any = OmegaConf.to_object(cfg.model.blocks)
    assert len(match(globs, modules, key="blocks")) == blocks


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_computes_without_values(composed: Config, name: str) -> None:
    keys = ("layers", "n_layer", "num_hidden_layers", "encoder_layers")
    cfg = composed(f"model={name}").model
    holder, prefix = (cfg.settings, "settings.") if "settings" in cfg else (cfg, "")
    (layers,) = (key for key in keys if key in holder)
    cfg, model = on_meta(composed, name, f"model.{prefix}{layers}=2")
    x = torch.zeros(2, 8, dtype=torch.long, device="meta")
    with Whole():
        out = model.eval()(x)
    assert out.is_meta
    if name in CLASSIFIERS:
        assert out.shape == (2, 3)
    else:
        vocabulary = cfg.model.get("vocab_size") or cfg.model.settings.vocab_size
        assert out.shape == (2, 8, vocabulary if name != "bart_large" else 1024)


@pytest.mark.parametrize("name", ["llama_7b", "llama_70b", "gpt3_175b"])
def test_a_large_model_is_built_in_a_moment(composed: Config, name: str) -> None:
    on_meta(composed, "llama_micro" if name.startswith("llama") else "gpt2_medium")  # imports
    start = time.process_time()
    on_meta(composed, name)
    assert time.process_time() - start < 10  # 0.1 to 0.8 s; values would take minutes


def test_a_llama_is_built_without_transformers(composed: Config) -> None:
    """Whose import takes longer than all else that a plan does."""
    import subprocess
    import sys

    code = (
        "import sys; from lowrank_bench.models.llama import llama; "
        "llama(hidden=8, ff=8, layers=1, heads=2, vocab_size=9, max_positions=9, tokens=9); "
        "print('transformers' in sys.modules, 'lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


def test_an_image_transformer_counts_as_published(composed: Config) -> None:
    """ViT-B/16 with a head for Food-101, as LoRA+'s notebook prints it; nothing is loaded."""
    cfg = composed("data=random_images", "model=vit_b_16", "data.num_classes=101")
    assert not cfg.model.load_weights
    with torch.device("meta"):
        model = build_model(cfg)
    assert count(model) == 85_876_325
    layers = {n: m for n, m in model.named_modules() if isinstance(m, nn.Linear)}
    presets: Any = OmegaConf.to_object(cfg.model.presets)
    hits = match(presets["qv"], layers, key="qv")
    adapters = sum(layers[n].in_features + layers[n].out_features for n in hits)
    assert 16 * adapters + count(model.get_submodule("head")) == 667_493
