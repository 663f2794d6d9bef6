"""A folder that PeftModel.from_pretrained loads."""

from copy import deepcopy
from pathlib import Path
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.export.peft_config import Adapted, of_our_layers, target_modules
from lowrank_bench.export.plain import bare, bare_name, save_tensors
from lowrank_bench.export.rebuilt import Rebuilt
from lowrank_bench.peft_bridge import tuner_of
from lowrank_bench.peft_bridge.fields import exactly
from lowrank_bench.peft_bridge.package import import_peft

TENSORS = "adapter_model.safetensors"


def write_peft(run: Rebuilt, folder: Path, base: str | None) -> tuple[nn.Module, str]:
    """Write the adapter, `base` being where its base lies; return the base with it, read back.

    What else trained goes along: whole modules (heads, norms, embeddings) as `modules_to_save`,
    biases of adapted layers as PEFT's `bias`.
    Raises: ConfigError where PEFT has no like of a layer, or no place for what else trained.
    """
    import_peft()
    from peft import PeftModel

    check_expressible(run)
    model = run.published()
    inner: Any = bare(model)
    config, tensors, told = _adapted(run, model)
    whole, biases = beside(run)
    config.base_model_name_or_path, config.inference_mode = base, True
    if inner is not model and type(inner).__name__.endswith("ForCausalLM"):
        config.task_type = "CAUSAL_LM"
    if biases:
        tensors |= _biases(config, {bare_name(model, k): t for k, t in biases.items()})
        told += f", {len(biases)} biases"
    if whole:
        tensors |= _modules(config, {bare_name(model, k) for k in whole}, bare(run.model), inner)
        told += f", whole: {_some(sorted(whole))}"
    save_tensors({f"base_model.{k}": t for k, t in tensors.items()}, folder / TENSORS)
    config.save_pretrained(folder, auto_mapping_dict=_origin(inner) if inner is not model else None)
    with catch_warnings():
        simplefilter("ignore")  # whatever PEFT remarks, what it computes will be compared
        try:
            PeftModel.from_pretrained(inner, str(folder), torch_device="cpu")  # in place
        except Exception as error:
            raise ConfigError(f"--to peft: PEFT cannot read what it is given: {error}") from error
    return model, told


def check_expressible(run: Rebuilt) -> None:
    """Raise ConfigError for a run without a layer that adds to its base."""
    if not run.layers:
        raise ConfigError(
            f"--to peft: method={run.record.name['method']} trains the model's own weights, and "
            "PEFT holds adapters; say --to merged or --to dense-delta"
        )
    spelt = getattr(bare(run.model), "spelt", {})
    for name in (bare_name(run.model, each) for each in run.layers):
        if name in spelt or name.rpartition(".")[0] in spelt:
            raise ConfigError(
                f"--to peft: '{name}' is no linear layer of its own in transformers "
                f"({type(bare(run.model)).__name__}); say --to merged or --to dense-delta"
            )


def beside(run: Rebuilt) -> tuple[set[str], dict[str, Tensor]]:
    """What trained beside the adapters: modules by name, and biases of adapted layers.

    Raises: ConfigError for a parameter that lies in no module of its own.
    """
    own, layers = run.model.state_dict(), run.layers
    modules: set[str] = set()
    biases: dict[str, Tensor] = {}
    for name, start in run.plain.items():
        place, _, part = name.rpartition(".")
        if place in layers:
            base: Any = getattr(layers[place], "base", None) or layers[place].get_base_layer()
            if part == "bias" and not torch.equal(base.bias, start):
                biases[place] = base.bias
        elif not torch.equal(own[name], start):
            if not place or any(layer.startswith(f"{place}.") for layer in layers):
                raise ConfigError(
                    f"--to peft: '{name}' trained too, and PEFT has no place for a parameter of a "
                    "module with adapted layers; say --to merged"
                )
            modules.add(place)
    return modules, biases


def _adapted(run: Rebuilt, model: nn.Module) -> Adapted:
    """The adapter's config, with its targets, and its tensors by name in `model`."""
    names = [bare_name(model, name) for name in run.layers]
    if tuner_of(run.model) is not None:
        config, tensors, told = _of_peft(run)
        config.target_modules = exactly(names)
    else:
        config, tensors, told = of_our_layers(run)
        config.target_modules = target_modules(names, bare(model))
    return config, tensors, told


def _of_peft(run: Rebuilt) -> Adapted:
    """The tuner's own config and tensors, as PEFT itself would save them."""
    from peft import get_peft_model_state_dict

    tuner = tuner_of(run.model)
    (name,) = tuner.peft_config
    config = deepcopy(tuner.peft_config[name])
    holder: Any = nn.Module()  # in the place of a PeftModel
    holder.base_model, holder.peft_config = tuner, tuner.peft_config
    found = get_peft_model_state_dict(holder, adapter_name=name, save_embedding_layers=False)
    tensors = {
        _bare_key(run.model, key.removeprefix("base_model.")): tensor
        for key, tensor in found.items()
        if ".shared_" not in key  # the bridge's second name for what the tuner holds
    }
    if getattr(config, "feedforward_modules", None):
        prefix = exactly(["hf."])
        config.feedforward_modules = str(config.feedforward_modules).replace(prefix, "")
    return (
        config,
        tensors,
        f"{type(config).__name__.removesuffix('Config')} on {len(run.layers)} layers",
    )


def _bare_key(model: nn.Module, key: str) -> str:
    """`key` with the bare name of a layer; what stands beside the model keeps its own."""
    name = key.removeprefix("model.")
    return key if name == key else f"model.{bare_name(model, name)}"


def _biases(config: Any, biases: dict[str, Tensor]) -> dict[str, Tensor]:
    if not hasattr(config, "bias"):
        raise ConfigError(
            f"--to peft: biases of adapted layers trained too, and {type(config).__name__} has no "
            "place for them; say --to merged"
        )
    config.bias = "vera_only" if "VERA" in str(config.peft_type) else "lora_only"
    return {f"model.{name}.base_layer.bias": bias for name, bias in biases.items()}


def _modules(
    config: Any, names: set[str], trained: nn.Module, plain: nn.Module
) -> dict[str, Tensor]:
    """Tensors of whole modules, and of whatever else PEFT takes for them by the end of its name."""
    if not hasattr(config, "modules_to_save"):
        raise ConfigError(
            f"--to peft: {', '.join(sorted(names))} trained too, and {type(config).__name__} has "
            "no place for them; say --to merged"
        )
    config.modules_to_save = sorted(names)
    hit = [n for n, _ in plain.named_modules(remove_duplicate=False) if n.endswith(tuple(names))]
    return {
        f"model.{name}.{key}": tensor
        for name in hit
        for key, tensor in trained.get_submodule(name).state_dict().items()
    }


def _some(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")


def _origin(inner: nn.Module) -> dict[str, str]:
    """By which AutoPeftModel knows what to build."""
    return {"base_model_class": type(inner).__name__, "parent_library": type(inner).__module__}
