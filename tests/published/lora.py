"""LoRA (Hu 2021, arXiv 2106.09685) and those after it, on pretrained models."""

from .claims import FORMULA, PRINTED, Claims, claim
from .conventions import (
    MILLION,
    adapted,
    all_triplets,
    kept_triplets,
    parameters,
    prefix_layers,
    printed_size,
    prompt,
    saved_by_freezing,
    series_adapters,
    share_of_all,
    share_of_base,
    trained,
    uniform_triplets,
)
from .plans import VOCABULARY, pretrained

QV = "method.targets=qv"
ADAPTERS = "adapters alone"
EXACT = "all parameters, exactly"
PRINTED_GPT3 = 175_255.8e6  # parameters, LoRA's Table 4


def lora() -> Claims:
    gpt3 = pretrained("gpt3_175b")
    found: Claims = {}
    for rank in (1, 2, 4, 8):
        found[f"lora.t15.gpt3.rq=rv={rank}"] = claim(
            adapted, ADAPTERS, pretrained("gpt3_175b", "lora", rank, QV), per=MILLION
        )
    for rank in (2, 64):
        plan = pretrained("gpt3_175b", "lora", rank, "method.targets=attention")
        found[f"lora.t15.gpt3.rq=rk=rv=ro={rank}"] = claim(adapted, ADAPTERS, plan, per=MILLION)
    for before, inside in ((32, 8), (256, 8), (512, 8)):
        found[f"lora.t15.gpt3.preembed.{before}_{inside}"] = claim(
            prompt,
            "d (lp + li)",
            gpt3,
            kind=FORMULA,
            length=before + inside,
            per=MILLION,
        )
    for before, inside in ((2, 2), (32, 4), (64, 0)):
        found[f"lora.t15.gpt3.prelayer.{before}_{inside}"] = claim(
            prefix_layers, "L d (lp + li)", gpt3, kind=FORMULA, length=before + inside
        )
    return (
        found
        | _of_gpt2()
        | _of_roberta()
        | {
            "lora.t15.gpt3.adapterH.r16": claim(
                series_adapters,
                "L̂ (2dr + r + d), two in each block",
                gpt3,
                kind=FORMULA,
                inner=16,
                each_block=2,
            ),
            "lora.s42.gpt3.ckpt_full": claim(
                printed_size,
                "the printed 175,255.8M parameters × 2 bytes, in GB",
                gpt3,
                kind=PRINTED,
                printed=PRINTED_GPT3,
            ),
            "lora.s42.gpt3.vram_ratio": claim(
                saved_by_freezing, "moments ÷ (weights + moments), all of one precision", gpt3
            ),
        }
    )


def _of_gpt2() -> Claims:
    medium, large = (pretrained(f"gpt2_{size}", "lora", 4, QV) for size in ("medium", "large"))
    top = "method.trainable=[hf.transformer.h.22.*,hf.transformer.h.23.*]"
    return {
        "params.gpt2_large": claim(parameters, EXACT, pretrained("gpt2_large"), per=MILLION),
        "lora.t3.gpt2m.fttop2": claim(
            trained,
            "all of the last two blocks",
            pretrained("gpt2_medium", "full", None, top),
            per=MILLION,
        ),
        "lora.t3.gpt2m.adapterL.11.09": claim(
            series_adapters,
            "L (2dr + r + d) and a layer norm in each block, r = 224 inferred",
            pretrained("gpt2_medium"),
            kind=FORMULA,
            inner=224,
            each_block=1,
            norms=1,
        ),
        "lora.t3.gpt2m.lora": claim(adapted, ADAPTERS, medium, per=MILLION),
        "lora.t3.gpt2l.lora": claim(adapted, ADAPTERS, large, per=MILLION),
        "lora.readme.gpt2m.ckpt": claim(
            adapted, "adapters × 4 bytes, in MiB", medium, times=4, per=2**20
        ),
    }


def _of_roberta() -> Claims:
    base, large = (pretrained(f"roberta_{size}", "lora", 8, QV) for size in ("base", "large"))
    return {
        "params.roberta_large": claim(
            parameters, "all parameters, pooler and all", pretrained("roberta_large"), per=MILLION
        ),
        "lora.t2.roberta_base": claim(adapted, ADAPTERS, base, per=MILLION),
        "lora.t2.roberta_large": claim(adapted, ADAPTERS, large, per=MILLION),
        "lora.readme.roberta_base": claim(
            trained,
            "adapters and a classifier of three classes",
            (
                "data=random_tokens",
                f"data.vocab_size={VOCABULARY['roberta_base']}",
                *("data.num_classes=3", "model=roberta_base", "base=from_model", "base.head=fresh"),
                *("method=lora", "rank=8", QV),
            ),
            per=MILLION,
        ),
    }


FIVE = (
    "method.targets=['*.query_proj','*.key_proj','*.value_proj','*.intermediate.dense',"
    "'hf.*.layer.*[0-9].output.dense']"
)


def adalora() -> Claims:
    """AdaLoRA, Zhang 2023, arXiv 2303.10512."""
    found: Claims = {
        "params.deberta_v3_base": claim(
            parameters, EXACT, pretrained("deberta_v3_base"), per=MILLION
        ),
        "adalora.t1.lora.r2": claim(
            adapted, ADAPTERS, pretrained("deberta_v3_base", "lora", 2), per=MILLION
        ),
        "adalora.t1.adalora.b576": claim(
            uniform_triplets,
            "eight triplets, P, λ and Q, for each of 72 matrices",
            pretrained("deberta_v3_base", "adalora", 8),
            budget=8,
            per=MILLION,
        ),
    }
    for rank in (2, 4):
        found[f"adalora.t2.squad.budget.r{rank}"] = claim(
            share_of_base,
            "adapters ÷ base, on five of the six types of matrix",
            pretrained("deberta_v3_base", "lora", rank, FIVE),
        )
    for rank in (1, 16):
        found[f"adalora.t3.bart.budget.r{rank}"] = claim(
            share_of_base,
            "adapters ÷ base, on all matrices of encoder and decoder; rank inferred",
            pretrained("bart_large", "lora", rank),
        )
    return found


DORA_TARGETS = "method.targets=['*.[qkv]_proj','*.up_proj','*.down_proj']"


def dora() -> Claims:
    """DoRA, Liu 2024, arXiv 2402.09353: Table 1. PiSSA, Meng 2024, arXiv 2404.02948."""
    found: Claims = {}
    for model, ours in (("LLaMA-13B", "llama_13b"), ("LLaMA3-8B", "llama3_8b")):
        for method in ("lora", "dora"):
            for rank in (16, 32):
                found[f"dora.t1.{model}.{method}.r{rank}"] = claim(
                    share_of_all,
                    "trainable ÷ (base + trainable); DoRA adds a magnitude an output",
                    pretrained(ours, method, rank, DORA_TARGETS),
                )
    found["pissa.llama2_7b.r128"] = claim(
        adapted, ADAPTERS, pretrained("llama2_7b", "pissa", 128), per=MILLION
    )
    return found


LLAMA3 = "llama3_2_3b"
KEPT = {"q_proj": 701, "v_proj": 1091}  # triplets, from the rank_pattern of PEFT's result
DOWN = ",".join(f"hf.model.layers.{n}.mlp.down_proj" for n in range(28))
PEFT = "method.adapter.config"


def peft() -> Claims:
    """Results of PEFT's method_comparison on Llama-3.2-3B, q and v unless told otherwise."""
    base = pretrained(LLAMA3)
    dora = pretrained(LLAMA3, "dora", 32, QV)
    adalora = pretrained(LLAMA3, "adalora", 32, QV)
    ia3 = pretrained(
        LLAMA3,
        "ia3",
        None,
        "method.targets=['*.k_proj','*.v_proj','*.down_proj']",
        f"{PEFT}.feedforward_modules=[{DOWN}]",
    )
    fourier = pretrained(  # of one block: it draws places from all, which is slow
        LLAMA3,
        "peft",
        None,
        QV,
        f"{PEFT}._target_=peft.FourierFTConfig",
        f"+{PEFT}.n_frequency=1000",
        "model.layers=1",
    )
    miss = pretrained(
        LLAMA3,
        "peft",
        64,
        QV,
        f"{PEFT}._target_=peft.MissConfig",
        "method.adapter.same_start=false",
    )
    norms = pretrained(LLAMA3, "full", None, "method.trainable=['*norm.*']")
    trainable = {
        "lora.trainable.rank32": claim(adapted, ADAPTERS, pretrained(LLAMA3, "lora", 32, QV)),
        "lora.trainable.rank64": claim(adapted, ADAPTERS, pretrained(LLAMA3, "lora", 64, QV)),
        "lora.trainable.rank64-rslora": claim(
            adapted, ADAPTERS, pretrained(LLAMA3, "rslora", 64, QV)
        ),
        "lora.trainable.rank32-dora": claim(adapted, ADAPTERS, dora),
        "vera.trainable.default": claim(adapted, ADAPTERS, pretrained(LLAMA3, "vera", 256, QV)),
        "ln_tuning.trainable.default": claim(trained, "all norms, by method=full", norms),
        "fourierft.trainable.default": claim(
            adapted, "adapters of one block × 28", fourier, times=28
        ),
        "ia3.trainable.default": claim(adapted, ADAPTERS, ia3),
        "miss.trainable.default": claim(adapted, ADAPTERS, miss),
        "prompt_tuning.trainable.default": claim(
            prompt, "tokens × width", base, kind=FORMULA, length=200
        ),
        "trainable_tokens.trainable.sos+eos": claim(
            prompt, "tokens × width", base, kind=FORMULA, length=2
        ),
        "adalora.kept_params": claim(
            kept_triplets, "the triplets that the result's rank_pattern keeps", adalora, kept=KEPT
        ),
        "adalora.budget": claim(all_triplets, "target rank × matrices", adalora, budget=32),
        "full.file_size": claim(parameters, "all parameters × 2 bytes, no header", base, times=2),
        "dora32.file_size": claim(adapted, "adapters × 4 bytes, no header", dora, times=4),
        "adalora.file_size": claim(
            kept_triplets, "kept triplets × 4 bytes, no header", adalora, kept=KEPT, bytes_each=4
        ),
    }
    return {f"peft.{name}": each for name, each in trainable.items()}
