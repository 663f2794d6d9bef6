"""Single matrices, small networks, and bytes for each parameter."""

from .claims import FORMULA, Claims, claim
from .conventions import (
    adapted,
    bytes_a_parameter,
    parameters,
    share_of_matrices,
    spread_of_product,
    trained,
)
from .plans import Overrides, image_net, llama, one_matrix
from .quantities import LIMITER, MOMENTS, is_matrix, state

FOUNDING = "[1,28,28]"
NO_COUNTERS = "moments of the matrix"
SINGLE = "precision=32-true"
LION = ("method/optimizer=sgd", "method.optimizer.momentum=0.9")  # one moment, as Lion has


def founding() -> Claims:
    """github.com/mathmerizing/LoRALinear, and what its networks begin with."""
    found: Claims = {
        "loralinear.mlp": claim(
            parameters, "all parameters, exactly", image_net(FOUNDING, 10, "full", None)
        )
    }
    for rank in (1, 2, 4, 8, 16, 32, 64, 128):
        plan = image_net(FOUNDING, 10, "lowrank", rank)
        found[f"loralinear.lowrank.r{rank}"] = claim(parameters, "all parameters, exactly", plan)
        found[f"loralinear.init.std_ratio.lora.first_layer.r{rank}"] = claim(
            spread_of_product, "√(d / 3r)", plan, kind=FORMULA
        )
    return found


def matrices() -> Claims:
    wide = {m: one_matrix(4096, 11008, m, 1024) for m in ("full", "lora", "apollo")}
    return {
        "formula.opt_states.full.adam": claim(state, NO_COUNTERS, wide["full"], of=is_matrix),
        "formula.opt_states.lora": claim(state, NO_COUNTERS, wide["lora"], of=is_matrix),
        "formula.opt_states.apollo": claim(
            state,
            f"{NO_COUNTERS}, the seed of its sketch, and the norm that bounds the next",
            wide["apollo"],
            keys=MOMENTS + LIMITER,
            of=is_matrix,
        ),
        "formula.opt_states.flora": claim(
            state,
            "APOLLO's moments and the seed: what Flora (2402.03293) keeps; not our bank `flora`",
            wide["apollo"],
            kind=FORMULA,
            keys=(*MOMENTS, "seed"),
            of=is_matrix,
        ),
        "seed.1024.r16": claim(adapted, "adapters alone", one_matrix(1024, 1024, "lora", 16)),
        "seed.simplenet.lowrank": claim(
            adapted, "the factors, without a bias", one_matrix(128, 10, "lowrank", 16), of=is_matrix
        ),
        "lllf.lora_fraction": claim(
            share_of_matrices, "adapters ÷ matrix", one_matrix(4096, 4096, "lora", 16)
        ),
    }


def vit() -> Claims:
    data = ("data=random_images", "data.num_classes=101", "model=vit_b_16", "base=from_model")
    head = "base.head=fresh"
    return {
        "loraplus.vit.trainable": claim(
            trained,
            "adapters and the classifier",
            (*data, head, "method=lora", "rank=16", "method.targets=qv"),
        ),
        "loraplus.vit.full": claim(parameters, "all parameters", (*data, head, "method=full")),
    }


def bytes_each() -> Claims:
    """LoRA Learns Less and Forgets Less (Biderman 2024, arXiv 2405.09673): Tables S14, S15."""
    found: Claims = {}
    for table, size, label in (("s14", "7b", 7e9), ("s15", "70b", 70e9)):
        adam = llama(size, "full", None, SINGLE)
        lion: Overrides = (*adam, *LION)
        for name, plan, each in (("adam", adam, "4 + 4 + 8"), ("lion", lion, "4 + 4 + 4")):
            said = f"nominal size; weight, gradient and moments in FP32, {each} bytes, in GB"
            if name == "lion":
                said += "; one moment, counted as SGD's momentum"
            found[f"lllf.{table}.{name}.1gpu"] = claim(
                bytes_a_parameter, said, plan, exactly=plan, label=label
            )
            found[f"lllf.{table}.{name}_lora.1gpu"] = claim(
                bytes_a_parameter,
                f"BF16 base + 1 % adapters; {said}",
                plan,
                label=label,
                share=0.01,
                frozen=2,
            )
        found[f"lllf.{table}.adam.8gpu"] = claim(
            bytes_a_parameter,
            "an eighth of what one GPU would hold",
            adam,
            label=label,
            gpus=8,
        )
    return found
