"""What the page says beside the rows: numbers of the planner's that its sentences name."""

from lowrank_bench.plan.ledger import Ledger

from .claims import Claims, claim
from .conventions import MB, G, adapted, memory, parameters, trained
from .galore import SIZES
from .lora import PRINTED_GPT3, QV
from .plans import llama, pretrained
from .quantities import MOMENTS, adapters, is_matrix, state


def ratio(lora: Ledger, *, of: float) -> float:
    """How many times the adapters a number of parameters is."""
    return of / adapters(lora)


def asides() -> Claims:
    name, rank, _ = SIZES["350M"]
    lora60, lora4 = llama("60m", "lora", 128), pretrained("gpt3_175b", "lora", 4, QV)
    gpt3 = pretrained("gpt3_175b")
    apollo, galore = llama("60m", "apollo", 64), llama("60m", "galore", 64)
    mini = llama("60m", "apollo_mini")
    found = {
        "galore_350m": claim(memory, "", llama(name, "galore", rank), weights=0, unit=G),
        "lora_60m_trains": claim(trained, "", lora60, per=1e6),
        "lora_60m_adapters": claim(adapted, "", lora60),
        "gpt3": claim(parameters, "", gpt3),
        "gpt3_printed_ratio": claim(ratio, "", lora4, of=PRINTED_GPT3),
        "gpt3_states_tb": claim(memory, "", gpt3, unit=1e12),
        "gpt3_gradients_tb": claim(memory, "", gpt3, weights=4, unit=1e12),
        "apollo_60m_half": claim(state, "", apollo, keys=MOMENTS, of=is_matrix),
        "galore_60m_half": claim(state, "", galore, of=is_matrix),
        "mini_60m_state_mb": claim(memory, "", mini, weights=0, unit=MB),
        "mini_60m_weights_mb": claim(memory, "", mini, states=0, unit=MB),
    }
    return {f"aside.{key}": each for key, each in found.items()}
