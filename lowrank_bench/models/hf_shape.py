"""Any architecture of Hugging Face from its config alone, with random weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.hf_nets import (
    CausalNet,
    ClassifierNet,
    check_classes,
    check_length,
    check_vocabulary,
    choose_padding,
    positions,
    require_transformers,
    vocabulary,
)
from lowrank_bench.models.hf_quiet import one_line
from lowrank_bench.models.spelt import spell_out
from lowrank_bench.names import nearest
from lowrank_bench.package_path import located

KINDS = {  # transformers' class, and its list of the architectures that it has
    "causal_lm": ("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING"),
    "classifier": (
        "AutoModelForSequenceClassification",
        "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING",
    ),
    "bare": ("AutoModel", "MODEL_MAPPING"),
}
FILE = "config.json"
UNDECLARED = {  # what an architecture reads of its config beside what the config's class names
    "deberta-v2": (
        *("attention_head_size", "cls_dropout", "conv_act", "conv_groups", "conv_kernel_size"),
        *("norm_rel_ebd", "position_buckets", "share_att_key"),
    )
}


class BareNet(nn.Module):
    """A model without a head, x (n, t) int64 -> its last states (n, t, d), to count and to plan.

    Raises: ConfigError where there are values: nothing can be trained on states.
    """

    def __init__(self, hf: Any) -> None:
        super().__init__()
        self.hf = hf
        self.positions = positions(hf)

    def forward(self, x: Tensor) -> Tensor:
        if not x.is_meta:
            raise ConfigError(
                "model.kind=bare: has no head to train by, and is there to be counted; say "
                "model.kind=causal_lm or model.kind=classifier"
            )
        check_length(x, self.positions)
        return self.hf(input_ids=x.clamp(min=0)).last_hidden_state


def hf_shape(
    *,
    path: str | None,
    settings: Mapping[str, Any] | None,
    kind: str,
    tokens: int | None,
    num_classes: int | None,
) -> CausalNet | ClassifierNet | BareNet:
    """The model that a config.json describes, its weights random, as its architecture draws them.

    `path` is a config.json or the folder of one; `settings` are what stands in one, model_type
    and all, or, beside a `path`, what is to be otherwise. `kind` is causal_lm (logits of the next
    tokens), classifier (logits of `num_classes`) or bare, the model without a head. `tokens` are
    those that the data have. Linear layers are spelt out (spelt.py); nothing is downloaded.
    Raises: ConfigError for a file that is no config, an architecture that transformers does not
    know or has not of this kind, a setting that the architecture has not, and sizes that do not
    fit each other.
    """
    require_transformers()
    import transformers

    if kind not in KINDS:
        raise ConfigError(f"model.kind={kind}: must be one of {', '.join(KINDS)}")
    own: dict[str, Any] = {}
    if kind == "classifier":
        check_classes(num_classes)  # type: ignore[arg-type]
        own["num_labels"] = num_classes
    said = _said(path, settings)
    config = _config(path, settings or {}, own)
    auto, has = (getattr(transformers, name) for name in KINDS[kind])
    if type(config) not in has:
        raise ConfigError(f"model.kind={kind}: transformers has none of {config.model_type}")
    with one_line(said[1], key=said[0]):
        hf = auto.from_config(config, dtype=torch.float32)
    spell_out(hf)
    check_vocabulary(vocabulary(hf), tokens)
    if kind == "bare":
        return BareNet(hf)
    if kind == "classifier":
        choose_padding(hf)
        return ClassifierNet(hf)
    net = CausalNet(hf)
    if net.looks_ahead():
        raise ConfigError(
            f"{said[0]}={said[1]}: {type(hf).__name__} looks at later tokens, so it cannot learn "
            "to predict them; say model.kind=classifier"
        )
    return net


def _said(path: str | None, settings: Mapping[str, Any] | None) -> tuple[str, str]:
    """Which key names the architecture, and by what."""
    if settings and "model_type" in settings:
        return "model.settings.model_type", str(settings["model_type"])
    return "model.path", "null" if path is None else str(path)


def _config(path: str | None, settings: Mapping[str, Any], own: Mapping[str, Any]) -> Any:
    from transformers import CONFIG_MAPPING, AutoConfig

    key, value = _said(path, settings)
    content = {} if path is None else _read(path)
    model_type = settings.get("model_type", content.get("model_type"))
    if model_type is None:
        raise ConfigError(
            f"{key}={value}: names no architecture; say model.path={FILE}, its folder, or "
            "+model.settings.model_type=gpt2"
        )
    if model_type not in CONFIG_MAPPING:
        close = nearest(str(model_type), CONFIG_MAPPING)
        meant = f"; did you mean '{close}'?" if close else ""
        raise ConfigError(f"{key}={value}: transformers knows no '{model_type}'{meant}")
    kind: Any = CONFIG_MAPPING[model_type]
    known = {*kind().to_dict(), *kind.attribute_map, *UNDECLARED.get(model_type, ())}
    known.add("model_type")
    for name in settings:
        if name not in known:
            close = nearest(name, known)
            meant = f"; did you mean '{close}'?" if close else ""
            raise ConfigError(f"model.settings.{name}: {model_type} has no such{meant}")
    with one_line(value, key=key):
        rest = {k: v for k, v in {**content, **settings, **own}.items() if k != "model_type"}
        return AutoConfig.for_model(model_type, **rest)


def _read(path: str) -> dict[str, Any]:
    place = Path(located(str(path), key="model.path")).expanduser()
    file = place / FILE if place.is_dir() else place
    if not file.is_file():
        what = f"there is no {FILE} in it" if place.is_dir() else "there is no such file or folder"
        raise ConfigError(f"model.path={path}: {what}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        line = " ".join(str(error).split())
        raise ConfigError(f"model.path={path}: cannot be read as JSON ({line})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"model.path={path}: is no {FILE}, which holds names and values")
    return content
