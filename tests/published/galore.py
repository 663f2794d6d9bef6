"""GaLore (Zhao 2024, arXiv 2403.03507): Tables 2 to 6."""

from typing import Any

from .claims import Claims, claim
from .conventions import (
    GB,
    MB,
    G,
    counted_twice,
    memory,
    nominal_memory,
    parameters,
    tokens,
)
from .plans import llama, pretrained, tokens_an_update
from .quantities import is_matrix, state

SIZES = {  # by the paper's label: our name, rank, parameters that the label stands for
    "60M": ("60m", 128, 60e6),
    "130M": ("130m", 256, 130e6),
    "350M": ("350m", 256, 350e6),
    "1B": ("1b", 512, 1.331e9),  # not 1e9, which fits no entry
}
PRINTED_OPTIMIZER = {"60M": 0.13, "130M": 0.28, "350M": 0.54, "1B": 1.78}  # Table 6, row GaLore
PRINTED_TOTAL = {  # Table 2
    "full": {"60M": 0.36, "130M": 0.76, "350M": 2.06, "1B": 7.80},
    "galore": {"60M": 0.24, "130M": 0.52, "350M": 1.22, "1B": 4.38},
    "lora": {"60M": 0.36, "130M": 0.80, "350M": 1.76, "1B": 6.17},
}
UPDATES = {"60M": 10_000, "130M": 20_000, "350M": 60_000, "1B": 100_000, "7B": 150_000}

IN_G = "BF16, in G of 1.024e9 bytes"
NOMINAL = f"as many parameters as the label says, 60M, 130M, 350M and 1.331B; {IN_G}"
WHOLE = f"exact count of the low-rank model; {IN_G}"
TWICE = f"nominal full model + whole low-rank model; {IN_G}"
STATE = (
    f"P and two moments of R for each matrix, Adam for embeddings, head and norms; exact; {IN_G}"
)
STEPS = "updates × 512 sequences × 256 tokens"
GLUE = "RoBERTa-base without head, 2 bytes an element, in MB of 1e6 bytes"


def _of_size(label: str) -> Claims:
    name, rank, nominal = SIZES[label]
    full, low_rank = llama(name), llama(name, "lowrank", rank)
    lora, galore = llama(name, "lora", rank), llama(name, "galore", rank)
    found: Claims = {}
    columns: dict[str, dict[str, Any]]
    columns = {"weights": {"states": 0}, "optim": {"weights": 0}, "total": {}}
    for column, told in columns.items():
        table = "t2" if column == "total" else "t6"
        found |= {
            f"galore.{table}.full.{column}.{label}": claim(
                nominal_memory, NOMINAL, full, exactly=full, label=nominal, **told
            ),
            f"galore.{table}.lowrank.{column}.{label}": claim(
                memory, WHOLE, low_rank, exactly=low_rank, **told
            ),
            f"galore.{table}.lora.{column}.{label}": claim(
                counted_twice, TWICE, full, lora, exactly=lora, label=nominal, **told
            ),
        }
    found[f"galore.t6.galore.optim.{label}"] = claim(
        memory, STATE, galore, exactly=galore, weights=0
    )
    return found


def _of_glue() -> Claims:
    full = pretrained("roberta_base", "full", None, "precision=bf16-true")
    galore = pretrained("roberta_base", "galore", 8, "precision=bf16-true")
    found = {
        "galore.t4.roberta.full": claim(memory, GLUE, full, exactly=full, unit=MB),
        "galore.t4.roberta.galore.r8": claim(
            memory,
            f"state of the projected matrices alone; {GLUE}",
            galore,
            exactly=galore,
            of=is_matrix,
            unit=MB,
        ),
    }
    for rank in (4, 8):
        lora = pretrained("roberta_base", "lora", rank, "precision=bf16-true")
        found[f"galore.t4.roberta.lora.r{rank}"] = claim(memory, GLUE, lora, exactly=lora, unit=MB)
    return found


def _tokens(label: str, size: str) -> Claims:
    plan = llama(size, "full", None, "budget.batch_size=512", "data.length=256")
    said = claim(tokens, STEPS, plan, read=tokens_an_update, updates=UPDATES[label])
    return {f"galore.t5.tokens.{label}": said, f"galore.t2.tokens.{label}": said}


def claims() -> Claims:
    found: Claims = {}
    for label in SIZES:
        found |= _of_size(label) | _tokens(label, SIZES[label][0])
    seven = llama("7b")
    small = llama("60m", "galore", 128)
    return (
        found
        | _of_glue()
        | _tokens("7B", "7b")
        | {
            "galore.formula.galore.optim_states.60M": claim(
                state, "elements of P, two moments of R, and Adam's for all else", small
            ),
            "galore.intro.7b.weights": claim(
                nominal_memory,
                "7e9 parameters, BF16, in GB",
                seven,
                exactly=seven,
                label=7e9,
                states=0,
                unit=GB,
            ),
            "galore.t3.7b.adam8bit": claim(
                memory,
                "exact count; weights BF16, states 1 byte without their scales; G of 1.024e9 bytes",
                seven,
                exactly=llama("7b", "full", None, "method/optimizer=adam8bit"),
                states=1,
                unit=G,
            ),
        }
    )


def shapes() -> Claims:
    """LLaMAs of GaLore, ReLoRA and APOLLO, and what methods make of them."""
    exact = "all parameters, exactly"
    found: Claims = {}
    for size in ("9m", "20m", "35m", "250m", "350m", "1b", "3b", "7b"):
        found[f"params.llama_{size}.total"] = claim(parameters, exact, llama(size))
    for size in ("60m", "130m", "350m"):
        plan = llama(size, "full", None, "model.vocab_size=32100")
        found[f"params.relora_llama_{size}.total"] = claim(
            parameters, f"{exact}, with a vocabulary of 32100", plan
        )
    found["params.llama_7b.published"] = claim(parameters, exact, llama("7b"), per=1e6)
    return found
