"""Weights of image networks: safetensors, tensors in a .pth file, or torchvision's own."""

import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint

PICKLES = (".pth", ".pt")
STORED = (".safetensors", *PICKLES)
State = Mapping[str, Tensor]


def read_weights(weights: str | None, arch: str | None) -> dict[str, Tensor]:
    """The tensors of a file, by name, or those that torchvision publishes.

    `weights` is a path that ends in .safetensors, .pth or .pt, or torchvision's name of weights:
    `IMAGENET1K_V1` of its architecture `arch`, or in full `ViT_B_16_Weights.IMAGENET1K_V1`.
    Nothing but tensors is unpickled.
    Raises: ConfigError for whatever cannot be read, or holds more than tensors.
    """
    if weights is None:
        raise ConfigError(
            "model.weights=null: base=from_model begins with the model's weights; say model."
            "weights=FILE.safetensors (or .pth), or a name of torchvision's, e.g. IMAGENET1K_V1"
        )
    path = Path(weights).expanduser()
    if path.suffix not in STORED:
        if "/" in weights or path.is_file():
            raise ConfigError(f"{_key(weights)}: must end in {', '.join(STORED)}")
        return _published(weights, arch)
    if not path.is_file():
        raise ConfigError(f"{_key(weights)}: there is no such file")
    state = _unpickled(path, weights) if path.suffix in PICKLES else _safetensors(path, weights)
    if not isinstance(state, dict) or not all(isinstance(t, Tensor) for t in state.values()):
        raise ConfigError(f"{_key(weights)}: must hold a state dict, tensors by their names")
    return state


def check_used(weights: str | None, load_weights: bool) -> None:
    """Raise ConfigError for a file that would stay unread."""
    if weights is not None and not load_weights and Path(weights).suffix in STORED:
        raise ConfigError(f"{_key(weights)}: would not be loaded; say base=from_model")


def fill(model: nn.Module, state: State, *, weights: str | None, head: str, rule: str) -> None:
    """Give `model` all of `state`, but for a head that is to be fresh.

    Raises: ConfigError when a weight is missing, unknown, or of another shape.
    """
    own = model.state_dict()
    if rule == "fresh":
        state = {name: t for name, t in state.items() if not name.startswith(f"{head}.")}
        own = {name: t for name, t in own.items() if not name.startswith(f"{head}.")}
    for name in own:
        if name not in state and not name.endswith("num_batches_tracked"):
            raise ConfigError(f"{_key(weights)}: has no '{name}'{hint(name, state)}")
    for name, tensor in state.items():
        if name not in own:
            raise ConfigError(f"{_key(weights)}: '{name}' has no place in this model")
        if tensor.shape != own[name].shape:
            why = f"'{name}' is {tuple(tensor.shape)}, in this model {tuple(own[name].shape)}"
            if name.startswith(f"{head}."):
                why += f"; base.head={rule} would keep it, say base.head=fresh"
            raise ConfigError(f"{_key(weights)}: {why}")
    model.load_state_dict(state, strict=False)


def _safetensors(path: Path, weights: str) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ConfigError(f"{_key(weights)}: cannot be read ({_line(error)})") from None


def _unpickled(path: Path, weights: str) -> Any:
    try:
        with warnings.catch_warnings():  # of a protocol that the refusal below speaks of
            warnings.simplefilter("ignore")
            return torch.load(path, weights_only=True, map_location="cpu")
    except UnpicklingError as error:
        raise ConfigError(
            f"{_key(weights)}: refused: {_reason(str(error))}; a pickle may run code as it is "
            "read, so nothing but tensors is taken from one. Save the weights as .safetensors"
        ) from None
    except Exception as error:  # a broken file breaks the unpickler in many ways
        raise ConfigError(
            f"{_key(weights)}: cannot be read ({type(error).__name__}: {_line(error)})"
        ) from None


def _reason(text: str) -> str:
    """What torch found in a pickle, out of a page of advice."""
    if found := re.search(r"GLOBAL (\S+)", text):
        return f"it calls for {found[1]}"
    if found := re.search(r"Unsupported operand \d+", text):
        return f"it is no file of torch.save ({found[0]})"
    return f"it holds more than tensors ({_line(text)[:120]})"


def _published(weights: str, arch: str | None) -> dict[str, Tensor]:
    from torchvision.models import WeightsEnum, get_model_weights, get_weight

    if "." in weights:
        try:
            found: WeightsEnum = get_weight(weights)
        except (ValueError, AttributeError, KeyError):
            raise ConfigError(f"{_key(weights)}: torchvision has no such weights") from None
    else:
        if arch is None:
            raise ConfigError(
                f"{_key(weights)}: torchvision publishes none for this model; name a file, or "
                "choose model=vit_b_16"
            )
        published = get_model_weights(arch)
        names = [each.name for each in published]
        if weights not in names:
            raise ConfigError(f"{_key(weights)}: {arch} has no such weights{hint(weights, names)}")
        found = published[weights]
    options = {"progress": False, "check_hash": True, "weights_only": True, "map_location": "cpu"}
    try:
        return dict(found.get_state_dict(**options))
    except (OSError, RuntimeError) as error:  # no network, no room, another file than expected
        raise ConfigError(
            f"{_key(weights)}: cannot be had from {found.url} ({_line(error)}); name a file "
            "instead: model.weights=FILE.pth"
        ) from None


def _key(weights: str | None) -> str:
    return f"model.weights={weights}"


def _line(error: object) -> str:
    return " ".join(str(error).split())
