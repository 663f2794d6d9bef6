"""Loading with transformers: safely, and from the machine itself where it can."""

from typing import Any

import torch

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.gguf_once import dequantised
from lowrank_bench.models.hf_origin import Origin, check_weights
from lowrank_bench.models.hf_quiet import one_line
from lowrank_bench.models.spelt import spell_out

DTYPES = ("float32", "float64", "bfloat16", "float16")


def load(
    kind: Any,
    origin: Origin,
    *,
    load_weights: bool,
    dtype: str,
    revision: str | None,
    trust_remote_code: bool,
    cache: str | None,
    head: str | None = None,
    resizes_head: bool = False,
    **settings: Any,
) -> Any:
    """The model of `origin`, by the Auto class `kind` of transformers, in training mode.

    Its layers are plain linear ones throughout (spelt.py).

    Without `load_weights` they are random, as its architecture draws them. Only those of the
    module `head` may be missing in the file and begin at random, and with `resizes_head` those
    of another shape too. `settings` go into the config. What was once downloaded is not asked
    for again.
    Raises: ConfigError for whatever cannot be loaded, or not safely: only safetensors are read,
    and Python that comes with a model is run only where `trust_remote_code` says so.
    """
    if dtype not in DTYPES:
        raise ConfigError(f"model.dtype={dtype}: must be one of {', '.join(DTYPES)}")
    if origin.gguf is not None:
        origin = dequantised(origin, revision, cache)
    if load_weights:
        check_weights(origin)
    fixed = {"trust_remote_code": trust_remote_code, "revision": revision or "main"}

    def attempt(local_files_only: bool) -> tuple[Any, dict[str, Any]]:
        from transformers import AutoConfig

        where = fixed | {"local_files_only": local_files_only}
        config = AutoConfig.from_pretrained(origin.name, **where, **settings)
        if not load_weights:
            trust = {"trust_remote_code": trust_remote_code}
            return kind.from_config(config, dtype=getattr(torch, dtype), **trust), {}
        return kind.from_pretrained(
            origin.name,
            config=config,
            dtype=getattr(torch, dtype),
            **where,
            use_safetensors=True,
            ignore_mismatched_sizes=True,  # _check_found says which
            output_loading_info=True,
        )

    with one_line(origin.given):
        try:
            model, found = attempt(local_files_only=True)
        except OSError:
            if origin.is_local:
                raise
            model, found = attempt(local_files_only=False)
    _check_head(model, head)
    _check_found(origin, found, head, resizes_head)
    spell_out(model)
    return model.train()


def _check_head(model: Any, head: str | None) -> None:
    children = [n for n, _ in model.named_children() if n != model.base_model_prefix]
    if head is not None and head not in children:
        raise ConfigError(
            f"model.head=hf.{head}: {type(model).__name__} has no such module; "
            f"say model.head=hf.{children[-1]}"
        )


def _check_found(
    origin: Origin, found: dict[str, Any], head: str | None, resizes_head: bool
) -> None:
    """Raise ConfigError where a weight would be left at random that should not."""
    in_head = f"{head}."
    differ = [each[0] for each in found.get("mismatched_keys", ())]
    if not resizes_head and any(name.startswith(in_head) for name in differ):
        raise ConfigError(
            f"model.path={origin.given}: its head is for another number of classes; "
            "say base.head=fresh"
        )
    gaps = sorted({*found.get("missing_keys", ()), *differ})
    gaps = [name for name in gaps if head is None or not name.startswith(in_head)]
    if gaps:
        raise ConfigError(
            f"model.path={origin.given}: {gaps[0]} is missing in its weights, or has another "
            f"shape there ({len(gaps)} such in all)"
        )
