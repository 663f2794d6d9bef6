"""That the audit notices a wrong convention, and a wrong shape."""

from collections.abc import Callable

import pytest

from .claims import Claim, claim
from .conventions import adapted, memory, share_of_all
from .lora import QV
from .plans import llama, pretrained
from .quantities import LIMITER, MOMENTS, is_matrix, state
from .rows import check, rows
from .sources import claims

Change = Callable[[Claim], Claim]
LOW_RANK, LORA = llama("60m", "lowrank", 128), llama("130m", "lora", 256)

WRONG_CONVENTIONS: dict[str, tuple[str, Change]] = {
    "1e9 bytes for 1.024e9": ("galore.t6.lowrank.weights.350M", lambda c: c.under(unit=1e9)),
    "2**30 bytes for 1.024e9": ("galore.t6.lowrank.weights.350M", lambda c: c.under(unit=2**30)),
    "4 bytes for 2": ("galore.t6.lowrank.optim.350M", lambda c: c.under(states=4)),
    "4 bytes for 2 in a file": ("peft.dora32.file_size", lambda c: c.under(times=2)),
    "an exact count for a nominal": (
        "galore.t6.full.optim.350M",
        lambda c: claim(memory, "", *c.plans, weights=0),
    ),
    "1e9 parameters for 1.331e9": ("galore.t6.full.weights.1B", lambda c: c.under(label=1e9)),
    "embeddings counted once": (
        "galore.t6.lora.weights.130M",
        lambda c: claim(memory, "", c.plans[1], states=0),
    ),
    "embeddings without state": (
        "galore.t6.lora.optim.130M",
        lambda c: claim(memory, "", LORA, weights=0, of=is_matrix),
    ),
    "all state, where the matrices' own is meant": (
        "apollo.t2.mini.total.60M",
        lambda c: claim(memory, "", *c.plans),
    ),
    "no projector": ("galore.formula.galore.optim_states.60M", lambda c: c.under(keys=MOMENTS)),
    "a step counter": (
        "formula.opt_states.apollo",
        lambda c: c.under(keys=(*MOMENTS, *LIMITER, "step")),
    ),
    "no seed": ("formula.opt_states.apollo", lambda c: c.under(keys=MOMENTS)),
    "no indices of the sparse part": ("sltrain.fig1.1b.sltrain", lambda c: c.under(buffers=False)),
    "a share of the base and more": (
        "adalora.t2.squad.budget.r2",
        lambda c: claim(share_of_all, "", *c.plans),
    ),
    "adapters without the classifier": (
        "lora.readme.roberta_base",
        lambda c: claim(adapted, "", *c.plans, per=1e6),
    ),
    "gradients of nothing": ("fira.t3.lora_relora.total.130M", lambda c: c.under(unit=1e30)),
    "an optimizer that is not the printed one": (
        "apollo.t2.halfrank.total.1B",
        lambda c: c.under(printed=2.04),
    ),
}

WRONG_SHAPES: dict[str, tuple[str, Change]] = {
    f"{name} of {change}": (name, lambda c, change=change: c.of(change))
    for name, change in (
        ("params.llama_9m.total", "model.layers=5"),
        ("params.sltrain_60m.total", "model.layers=7"),
        ("params.sltrain_60m.total", "method.adapter.density=0.0301"),
        ("galore.t6.lowrank.weights.60M", "model.layers=12"),
        ("galore.t6.galore.optim.60M", "rank=127"),
        ("galore.formula.galore.optim_states.60M", "model.ff=1375"),
        ("galore.formula.galore.optim_states.60M", "method.transform.side=reverse_std"),
        ("galore.t6.lowrank.weights.1B", "model.ff=5460"),
        ("galore.t6.lora.optim.130M", "rank=255"),
        ("galore.t6.full.optim.60M", "model.layers=12"),
        ("galore.t5.tokens.60M", "data.length=512"),
        ("fira.t3.lora_relora.total.130M", "rank=320"),
        ("loralinear.lowrank.r8", "rank=9"),
        ("loralinear.mlp", "model.hidden=[512]"),
        ("formula.opt_states.lora", "rank=1023"),
        ("formula.opt_states.apollo", "method=galore"),
        ("seed.1024.r16", "method=dora"),
        ("lora.t2.roberta_base", "rank=9"),
        ("lora.t2.roberta_base", "method.targets=attention"),
        ("loraplus.vit.trainable", "rank=17"),
        ("adalora.t1.adalora.b576", "model.settings.num_hidden_layers=11"),
        ("adalora.t2.squad.budget.r2", "method.targets=all-linear"),
    )
}


@pytest.mark.parametrize("wrong", WRONG_CONVENTIONS)
def test_a_wrong_convention_fails(wrong: str) -> None:
    name, change = WRONG_CONVENTIONS[wrong]
    check(rows()[name], claims()[name].found())
    with pytest.raises(AssertionError, match=r"is printed|no label"):
        check(rows()[name], change(claims()[name]).found())


@pytest.mark.parametrize("wrong", WRONG_SHAPES)
def test_a_wrong_shape_fails(wrong: str) -> None:
    name, change = WRONG_SHAPES[wrong]
    with pytest.raises(AssertionError, match=r"is printed|no label"):
        check(rows()[name], change(claims()[name]).found())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("peft.vera.trainable.default", "rank=255"),
        ("peft.lora.trainable.rank32-dora", "method=lora"),
        ("peft.lora.trainable.rank32", "model.kv_heads=24"),
        ("peft.adalora.kept_params", "model.kv_heads=12"),
        ("peft.full.file_size", "model.tied=false"),
        ("peft.ln_tuning.trainable.default", "model.layers=27"),
    ],
)
def test_a_wrong_shape_of_a_large_model_fails(name: str, change: str) -> None:
    with pytest.raises(AssertionError, match="is printed"):
        check(rows()[name], claims()[name].of(change).found())


def test_state_that_no_convention_speaks_of_is_an_error() -> None:
    eight_bit = pretrained("roberta_base", "lora", 8, QV, "method/optimizer=adam8bit")
    with pytest.raises(AssertionError, match="no convention here speaks of"):
        claim(state, "", eight_bit).found()
