"""The config of a PEFT adapter that stands for layers of ours, and its tensors."""

from collections import Counter
from collections.abc import Mapping, Sequence
from math import isclose, sqrt
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.export.corrections import Correction, correction
from lowrank_bench.export.plain import bare_name
from lowrank_bench.export.rebuilt import Rebuilt
from lowrank_bench.layers.adapter import Adapter
from lowrank_bench.layers.dora import DoRALinear
from lowrank_bench.layers.vera import VeRALinear
from lowrank_bench.peft_bridge.fields import exactly

# PEFT's config; tensors by their names in a PeftModel, less `base_model.`; what to say of it
Adapted = tuple[Any, dict[str, Tensor], str]


def of_our_layers(run: Rebuilt) -> Adapted:
    """A PEFT adapter that computes what the layers of `run` do, by their bare names.

    `target_modules` is yet to be set.

    VeRA stays VeRA, DoRA LoRA with `use_dora`, and every other product of two factors is LoRA:
    AdaLoRA's too, whose pruned triplets are left out.
    Raises: ConfigError for a layer that PEFT has no like of.
    """
    own: Mapping[str, Any] = run.layers
    bare = {bare_name(run.model, name): name for name in own}
    layers = {name: own[inner] for name, inner in bare.items()}
    starts = {name: run.plain[f"{inner}.weight"] for name, inner in bare.items()}
    if all(isinstance(layer, VeRALinear) for layer in layers.values()) and all(
        torch.equal(layer.base.weight, starts[name]) for name, layer in layers.items()
    ):
        return _vera(layers)
    found = {}
    for name, layer in layers.items():
        try:
            found[name] = correction(layer, starts[name])
        except (TypeError, AttributeError):  # the latter of a layer without a base
            raise ConfigError(f"--to peft: {_why_not(layer, name)}") from None
    return _lora(layers, found)


def _why_not(layer: Any, name: str) -> str:
    what = f"{type(layer).__name__} at '{name}'"
    why = "is no product of two factors beside its base, as PEFT's LoRA is"
    if not isinstance(layer, Adapter):
        why = "stands in the place of the base's weight, and PEFT only adds to it"
    instead = "say --to merged" if layer.mergeable else "nor does one dense weight do the same"
    return f"{what} {why}; {instead}"


def _lora(layers: Mapping[str, Any], found: Mapping[str, Correction]) -> Adapted:
    from peft import LoraConfig

    first = next(iter(layers.values()))
    ranks = {name: len(each.A) for name, each in found.items()}
    scales = {each.scale for each in found.values()}
    alike = len(scales) == 1 and len({*ranks.values()}) == 1 and 0 not in ranks.values()
    settings: dict[str, Any]
    if alike and all(each.as_trained for each in found.values()):
        (scale,), rank = scales, ranks[next(iter(ranks))]
        # That of LoRA at rank 1 is either.
        stabilized = rank > 1 and isclose(scale, getattr(first, "alpha", 0) / sqrt(rank))
        alpha = scale * (sqrt(rank) if stabilized else rank)
        settings = {"r": rank, "lora_alpha": _whole(alpha), "use_rslora": stabilized}
    else:  # by layer, the scale in B
        found = {name: _folded(each) for name, each in found.items()}
        ranks = {name: len(each.A) for name, each in found.items()}
        rank = Counter(ranks.values()).most_common(1)[0][0]
        pattern = {f"^{exactly([name])}": r for name, r in ranks.items() if r != rank}
        settings = {"r": rank, "lora_alpha": rank}
        settings |= {"rank_pattern": pattern, "alpha_pattern": dict(pattern)}
    tensors = {}
    for name, each in found.items():
        key, kernel = f"model.{name}.lora_", layers[name].base.weight.shape[1:]  # (i), or (i, k, k)
        tensors[f"{key}A.weight"] = each.A.unflatten(1, kernel)
        tensors[f"{key}B.weight"] = each.B.reshape(*each.B.shape, *[1] * (len(kernel) - 1))
        if isinstance(layers[name], DoRALinear):
            tensors[f"{key}magnitude_vector"] = layers[name].magnitude
    dora = any(isinstance(layer, DoRALinear) for layer in layers.values())
    config = LoraConfig(lora_dropout=_dropout(first), use_dora=dora, **settings)
    told = f"{'DoRA' if dora else 'LoRA'} of rank {_span(ranks.values())}"
    return config, tensors, f"{told} on {len(layers)} layers"


def _vera(layers: Mapping[str, Any]) -> Adapted:
    from peft import VeraConfig

    first = next(iter(layers.values()))
    rank = len(first.lambda_d)
    # Kept with it, since our draw need not be that of another PEFT.
    config = VeraConfig(r=rank, vera_dropout=_dropout(first), save_projection=True)
    tensors = {
        f"model.{name}.vera_{part}": getattr(layer, part)
        for name, layer in layers.items()
        for part in ("lambda_b", "lambda_d")
    }
    projection = first.projection
    tensors |= {"vera_A": projection.A, "vera_B": projection.B}
    return config, tensors, f"VeRA of rank {rank} on {len(layers)} layers"


def _folded(each: Correction) -> Correction:
    """Scale 1; of rank 1 where it is nothing, since PEFT knows no rank 0."""
    if not len(each.A):
        B, A = each.B.new_zeros(len(each.B), 1), each.A.new_zeros(1, each.A.shape[1])
        return Correction(B, A, 1.0, as_trained=False)
    return Correction(each.scale * each.B, each.A, 1.0, as_trained=False)


def hits(config_targets: str | Sequence[str], model: nn.Module) -> set[str]:
    """Names of the modules that PEFT takes for these `target_modules`."""
    from peft import LoraConfig
    from peft.tuners.tuners_utils import check_target_module_exists

    asked = LoraConfig(target_modules=config_targets)  # type: ignore[arg-type]
    return {name for name, _ in model.named_modules() if check_target_module_exists(asked, name)}


def target_modules(names: Sequence[str], model: nn.Module) -> str | list[str]:
    """The shortest `target_modules` that hit these names of `model` alone.

    The last parts of the names, as people and servers of adapters write them (q_proj, v_proj),
    where these hit nothing else; else a pattern of the exact names.
    """
    endings = sorted({name.rpartition(".")[2] for name in names})
    return endings if hits(endings, model) == set(names) else exactly(names)


def _dropout(layer: Any) -> float:
    return getattr(layer.dropout, "p", 0.0)


def _whole(number: float) -> float:
    """16 for 16.0, and for what rounding left beside it."""
    return round(number) if isclose(number, round(number)) else number


def _span(ranks: Any) -> str:
    low, high = min(ranks), max(ranks)
    return str(low) if low == high else f"{low} to {high}"
