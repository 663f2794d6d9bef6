"""Any model of Hugging Face: by a name on the hub, a folder or a GGUF file."""

from lowrank_bench.errors import ConfigError
from lowrank_bench.models.hf_load import load
from lowrank_bench.models.hf_nets import (
    CausalNet,
    ClassifierNet,
    check_classes,
    check_vocabulary,
    choose_padding,
    require_transformers,
    vocabulary,
)
from lowrank_bench.models.hf_origin import origin


def causal_lm(
    *,
    path: str | None,
    gguf_file: str | None,
    load_weights: bool,
    dtype: str,
    revision: str | None,
    trust_remote_code: bool,
    cache: str | None,
    vocab_size: int | None,
) -> CausalNet:
    """A language model: token ids (n, t) -> logits (n, t, v) for the next ones.

    `vocab_size` is that of the data, which the model must have.
    Raises: ConfigError when it cannot be found or loaded, when it looks at later tokens, or
    when it knows fewer of them than the data have.
    """
    require_transformers()
    from transformers import AutoModelForCausalLM

    net = CausalNet(
        load(
            AutoModelForCausalLM,
            origin(path, gguf_file),
            load_weights=load_weights,
            dtype=dtype,
            revision=revision,
            trust_remote_code=trust_remote_code,
            cache=cache,
        )
    )
    check_vocabulary(vocabulary(net.hf), vocab_size)
    if net.looks_ahead():
        raise ConfigError(
            f"model.path={path}: {type(net.hf).__name__} looks at later tokens, so it cannot "
            "learn to predict them; choose a decoder"
        )
    return net


def classifier(
    *,
    path: str | None,
    gguf_file: str | None,
    load_weights: bool,
    dtype: str,
    revision: str | None,
    trust_remote_code: bool,
    cache: str | None,
    vocab_size: int | None,
    num_classes: int,
    output: str,
    head_rule: str,
) -> ClassifierNet:
    """A model that puts sequences into classes: token ids (n, t) -> logits (n, k).

    `output` is the name of the module that gives them, hf.score or hf.classifier. One that the
    weights lack begins at random, and so does one for another number of classes where
    `head_rule` is `fresh`. `vocab_size` is that of the data, which the model must have.
    Raises: ConfigError when the model cannot be found or loaded, or has another output module,
    or fewer tokens.
    """
    require_transformers()
    from transformers import AutoModelForSequenceClassification

    check_classes(num_classes)
    hf = load(
        AutoModelForSequenceClassification,
        origin(path, gguf_file),
        load_weights=load_weights,
        dtype=dtype,
        revision=revision,
        trust_remote_code=trust_remote_code,
        cache=cache,
        head=output.removeprefix("hf."),
        resizes_head=head_rule == "fresh",
        num_labels=num_classes,
    )
    check_vocabulary(vocabulary(hf), vocab_size)
    choose_padding(hf)
    return ClassifierNet(hf)
