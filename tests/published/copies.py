"""Fira (2410.01623), APOLLO (2412.05270) and SLTrain (2406.02214), who build on GaLore's tables."""

from .claims import PRINTED, Claims, claim
from .conventions import (
    GB,
    adapted,
    half_of_printed,
    memory,
    parameters,
    printed_and_gradients,
    weights_and_projected_state,
)
from .galore import PRINTED_OPTIMIZER, PRINTED_TOTAL, SIZES
from .plans import llama
from .quantities import MOMENTS, is_matrix

HALF = (
    "GaLore's weights (nominal, to two digits) + half of GaLore's *printed* optimizer, "
    "G of 1.024e9 bytes"
)
MINI = (
    "nominal weights + two numbers a column of each projected matrix; Adam's state of embeddings, "
    "head and norms is left out; BF16, G of 1.024e9 bytes"
)
ADDED = "GaLore's *printed* total + BF16 gradients of what trains, G of 1.024e9 bytes"
EXACT_GB = "exact count, BF16, in GB"


def apollo() -> Claims:
    found: Claims = {}
    for label, (name, rank, nominal) in SIZES.items():
        found[f"apollo.t2.halfrank.total.{label}"] = claim(
            half_of_printed,
            HALF,
            llama(name),
            kind=PRINTED,
            exactly=llama(name, "apollo", rank // 2),
            label=nominal,
            printed=PRINTED_OPTIMIZER[label],
        )
        mini = llama(name, "apollo_mini")
        found[f"apollo.t2.mini.total.{label}"] = claim(
            weights_and_projected_state, MINI, mini, exactly=mini, label=nominal
        )
    seven, middle = llama("7b", "galore", 1024), llama("350m", "apollo", 256)
    eight_bit = ("method/optimizer=adam8bit", "method.transform.moments=keep")
    return found | {
        "apollo.t3.7b.galore8bit.optim": claim(
            memory,
            "P and all moments at 1 byte, without their scales, in GB",
            seven,
            exactly=llama("7b", "galore", 1024, *eight_bit),
            weights=0,
            states=1,
            unit=GB,
        ),
        "apollo.t3.7b.adam8bit.optim": claim(
            memory,
            "two moments at 1 byte, without their scales, G of 1.024e9 bytes",
            llama("7b"),
            exactly=llama("7b", "full", None, "method/optimizer=adam8bit"),
            weights=0,
            states=1,
        ),
        "apollo.t4.350m.apollo.optim": claim(
            memory,
            "moments of the projected matrices alone, BF16, in GB",
            middle,
            exactly=middle,
            weights=0,
            of=is_matrix,
            keys=MOMENTS,
            unit=GB,
        ),
    }


def fira() -> Claims:
    found: Claims = {}
    for label, (name, rank, nominal) in SIZES.items():
        full, lora = llama(name), llama(name, "lora", rank)
        fira = llama(name, "fira", rank)
        found |= {
            f"fira.t3.full.total.{label}": claim(
                printed_and_gradients,
                ADDED,
                full,
                kind=PRINTED,
                exactly=full,
                printed=PRINTED_TOTAL["full"][label],
                label=nominal,
            ),
            f"fira.t3.fira_galore.total.{label}": claim(
                printed_and_gradients,
                ADDED,
                fira,
                kind=PRINTED,
                exactly=fira,
                printed=PRINTED_TOTAL["galore"][label],
                label=nominal,
            ),
            f"fira.t3.lora_relora.total.{label}": claim(
                printed_and_gradients,
                ADDED,
                lora,
                kind=PRINTED,
                exactly=lora,
                printed=PRINTED_TOTAL["lora"][label],
            ),
        }
    return found


def sltrain() -> Claims:
    full, low_rank = llama("1b"), llama("1b", "lowrank", 512)
    galore, sparse = llama("1b", "galore", 512), llama("1b", "sltrain", 512)
    index = "exact count, BF16, and indices of the sparse part as int64; in GB"
    return {
        "sltrain.fig1.1b.full": claim(memory, EXACT_GB, full, exactly=full, unit=GB),
        "sltrain.fig1.1b.low_rank": claim(memory, EXACT_GB, low_rank, exactly=low_rank, unit=GB),
        "sltrain.fig1.1b.galore": claim(memory, EXACT_GB, galore, exactly=galore, unit=GB),
        "sltrain.fig1.1b.sltrain": claim(
            memory, index, sparse, exactly=sparse, buffers=True, unit=GB
        ),
        "params.sltrain_60m.total": claim(
            parameters, "all parameters, indices apart", llama("60m", "sltrain", 128)
        ),
        "params.sltrain_1b.total": claim(parameters, "all parameters, indices apart", sparse),
    }


def low_rank_models() -> Claims:
    """Counts behind the tables of all of them."""
    found: Claims = {}
    for name, rank, _ in SIZES.values():
        found[f"params.lowrank_{name}.total"] = claim(
            parameters, "all parameters, exactly", llama(name, "lowrank", rank)
        )
        found[f"params.lora_{name}.adapters"] = claim(
            adapted, "adapters alone", llama(name, "lora", rank)
        )
    return found
