"""What the planner counts for the config of a command line, each config once."""

from copy import deepcopy
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import OverrideType
from omegaconf import DictConfig, OmegaConf

from lowrank_bench.compose import composed
from lowrank_bench.config_dir import config_dir
from lowrank_bench.plan.batch import batch_of
from lowrank_bench.plan.ledger import Ledger
from lowrank_bench.plan.update import count

Overrides = tuple[str, ...]


@cache
def planned(overrides: Overrides) -> Ledger:
    """Weights, gradients and optimizer state of `lowrank-bench OVERRIDES`."""
    return count(config(overrides))


@cache
def tokens_an_update(overrides: Overrides) -> int:
    """How many tokens an update sees."""
    cfg = config(overrides)
    tokens = batch_of(cfg.data, cfg.budget.batch_size).tokens
    assert tokens is not None
    return tokens


def config(overrides: Overrides) -> DictConfig:
    """What `lowrank-bench OVERRIDES` would train.

    Composing takes Hydra a quarter of a second, so each set of choices is composed once; plain
    values are then set on a copy, as Hydra does it last.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    values = [
        each
        for each in parsed
        if each.type is OverrideType.CHANGE and not (config_dir() / each.key_or_group).is_dir()
    ]
    cfg = deepcopy(_composed(tuple(str(e.input_line) for e in parsed if e not in values)))
    for each in values:
        OmegaConf.update(cfg, each.key_or_group, each.value())
    return cfg


@cache
def _composed(choices: Overrides) -> DictConfig:
    return composed(choices)


def llama(size: str, method: str = "full", rank: int | None = None, *more: str) -> Overrides:
    """A LLaMA trained from scratch in BF16: linear layers by the method, all else by Adam."""
    ranked = () if rank is None else (f"rank={rank}",)
    model = ("data=random_tokens", f"model=llama_{size}", f"method={method}")
    return (*model, *ranked, "precision=bf16-true", *more)


VOCABULARY = {
    "gpt2_medium": 50257,
    "gpt2_large": 50257,
    "gpt3_175b": 50257,
    "bart_large": 50265,
    "deberta_v3_base": 128100,
    "roberta_base": 50265,
    "roberta_large": 50265,
    "llama3_2_3b": 128256,
    "llama3_8b": 128256,
    "llama2_7b": 32000,
    "llama_13b": 32000,
}
BARE = ("roberta_base", "roberta_large", "deberta_v3_base")  # counted without a classifier


def pretrained(model: str, method: str = "full", rank: int | None = None, *more: str) -> Overrides:
    """A pretrained model, of which only what the method adds is trained."""
    ranked = () if rank is None else (f"rank={rank}",)
    data = ("data=random_tokens", f"data.vocab_size={VOCABULARY[model]}")
    bare = ("model.kind=bare",) if model in BARE else ()
    base = ("base=from_model", "method.head=null")
    return (*data, f"model={model}", *bare, *base, f"method={method}", *ranked, *more)


def image_net(shape: str, classes: int, method: str, rank: int | None, *more: str) -> Overrides:
    """The founding network, or what of it `more` leaves, on images of a shape."""
    ranked = () if rank is None else (f"rank={rank}",)
    data = ("data=random_images", f"data.shape={shape}", f"data.num_classes={classes}")
    return (*data, "model=mlp", f"method={method}", *ranked, *more)


def one_matrix(inputs: int, outputs: int, method: str, rank: int | None) -> Overrides:
    """A single linear layer."""
    return image_net(f"[1,1,{inputs}]", outputs, method, rank, "model.hidden=[]")
