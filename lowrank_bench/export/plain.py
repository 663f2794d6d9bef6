"""Plain networks on disk, without a layer of any method."""

import json
from collections.abc import Mapping
from importlib import import_module
from inspect import isclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from lowrank_bench.build import build
from lowrank_bench.errors import ConfigError
from lowrank_bench.prepare import NOT_THE_NETWORKS

WEIGHTS, CONFIG = "model.safetensors", "config.json"
OURS = "lowrank_bench."
HUGGING_FACE = "hf"  # where a wrapper keeps the model of transformers that it asks


def bare(model: nn.Module) -> nn.Module:
    """What others know of a model: that of transformers inside of our wrapper, or itself."""
    return getattr(model, HUGGING_FACE, model)


def bare_name(model: nn.Module, name: str) -> str:
    """The name in `bare(model)` of what is called `name` in `model`."""
    return name if bare(model) is model else name.removeprefix(f"{HUGGING_FACE}.")


def save_tensors(tensors: Mapping[str, Tensor], path: Path, **about: Any) -> None:
    """A safetensors file; what is said `about` it goes into its header, as text."""
    from safetensors.torch import save_file

    # Copies, since the format refuses two names of one memory.
    separate = {name: t.detach().cpu().clone().contiguous() for name, t in tensors.items()}
    save_file(separate, path, metadata={"format": "pt"} | {k: str(v) for k, v in about.items()})


def save_plain(model: nn.Module, cfg: DictConfig, folder: Path, **about: Any) -> None:
    """Write a plain network to `folder`, which exists.

    One of transformers by its own save_pretrained. One of ours as model.safetensors and the node
    `model` of its config, which `load_plain` takes up.
    """
    inner: Any = bare(model)
    if inner is not model:
        from transformers.utils.logging import disable_progress_bar

        disable_progress_bar()
        inner.save_pretrained(folder)
        return
    node: Any = OmegaConf.to_container(cfg.model, resolve=True)
    kept = {key: value for key, value in node.items() if key not in NOT_THE_NETWORKS}
    if "load_weights" in kept:
        kept["load_weights"] = False  # they are in the file beside it
        if "weights" in kept:
            kept["weights"] = None  # else refused, as a file that would stay unread
    (folder / CONFIG).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    save_tensors(model.state_dict(), folder / WEIGHTS, **about)


def load_plain(folder: Path | str) -> nn.Module:
    """A network of this package from a folder that `save_plain` wrote, evaluating.

    Only what lies in this package is built, since whoever wrote the config says what is called.
    Raises: ConfigError for a folder that is none, or a network from elsewhere.
    """
    from safetensors.torch import load_file

    folder = Path(folder)
    try:
        node = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        target = node["_target_"]
    except (OSError, ValueError, KeyError, TypeError):
        raise ConfigError(f"{folder}: holds no {CONFIG} of a plain network") from None
    if not _is_ours(node):
        raise ConfigError(
            f"{folder}: its network {target} is no plain network of this package; build it "
            f"yourself, and load {WEIGHTS} into it"
        )
    state = load_file(folder / WEIGHTS)
    model = build(node, "model").to(next(t.dtype for t in state.values() if t.is_floating_point()))
    model.load_state_dict(state)
    return model.eval()


def _is_ours(node: Mapping[str, Any]) -> bool:
    """Whether `node` calls a network class that this package defines, and nothing else within.

    The prefix alone would let through whatever our modules import (lowrank_bench.build.os.system).
    """
    module, _, name = str(node["_target_"]).rpartition(".")
    settings = {key: value for key, value in node.items() if key != "_target_"}
    if not module.startswith(OURS) or '"_target_"' in json.dumps(settings):
        return False
    try:
        kind = getattr(import_module(module), name, None)
    except ImportError:
        return False
    return isclass(kind) and issubclass(kind, nn.Module) and kind.__module__ == module
