import hashlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hf_updates import updates
from tiny_hf import tiny_bert, tiny_llama, write_gguf

from lowrank_bench.models.hf import causal_lm, classifier
from lowrank_bench.prepare import build_model, prepare
from lowrank_bench.weights import checksum

Config = Callable[..., Any]
Options = dict[str, Any]


@pytest.fixture
def options(tmp_path: Path) -> Options:
    return {
        "gguf_file": None,
        "load_weights": True,
        "dtype": "float32",
        "revision": None,
        "trust_remote_code": False,
        "cache": str(tmp_path / "cache"),
        "vocab_size": 61,
    }


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randint(0, 61, (3, 17), generator=torch.Generator().manual_seed(1))


def saved(model: Any, folder: Path) -> str:
    model.save_pretrained(folder)
    return str(folder)


def contents(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns)
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_a_folder_gives_the_logits_of_its_model(
    tmp_path: Path, options: Options, x: torch.Tensor, tied: bool
) -> None:
    model = tiny_llama(tied)
    net = causal_lm(path=saved(model, tmp_path / "llama"), **options)
    assert torch.equal(net(x), model(x).logits)
    assert net.training
    assert (net.hf.lm_head.weight is net.hf.model.embed_tokens.weight) is tied


@pytest.mark.parametrize("tied", [False, True])
@torch.no_grad()
def test_a_gguf_file_gives_the_logits_of_its_model(
    tmp_path: Path, options: Options, x: torch.Tensor, tied: bool
) -> None:
    """Also with fewer heads for k than for q, whose rows GGUF has in another order."""
    model = tiny_llama(tied)
    file = write_gguf(model, tmp_path / "tiny.gguf")
    for path, gguf_file in ((str(file), None), (str(tmp_path), "tiny.gguf")):
        net = causal_lm(path=path, **{**options, "gguf_file": gguf_file})
        assert torch.equal(net(x), model(x).logits)
        assert (net.hf.lm_head.weight is net.hf.model.embed_tokens.weight) is tied


def test_a_gguf_file_is_dequantised_once_and_without_a_word(
    tmp_path: Path,
    options: Options,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = write_gguf(tiny_llama(), tmp_path / "tiny.gguf")
    first = causal_lm(path=str(file), **options)
    made = contents(tmp_path / "cache")
    assert any(name.endswith(".safetensors") for name in made)
    assert capfd.readouterr() == ("", "")
    monkeypatch.setitem(sys.modules, "gguf", None)  # cannot be imported any more
    again = causal_lm(path=str(file), **options)
    assert checksum(first.state_dict()) == checksum(again.state_dict())
    assert contents(tmp_path / "cache") == made


def test_another_gguf_file_of_the_same_name_is_read_anew(tmp_path: Path, options: Options) -> None:
    path = tmp_path / "tiny.gguf"
    first = causal_lm(path=str(write_gguf(tiny_llama(), path)), **options)
    second = causal_lm(path=str(write_gguf(tiny_llama(tied=True), path)), **options)
    assert checksum(first.state_dict()) != checksum(second.state_dict())


def test_a_dequantising_that_was_interrupted_leaves_nothing_behind(
    tmp_path: Path, options: Options, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedModel

    def interrupted(self: Any, folder: Path) -> None:
        Path(folder).mkdir()
        (Path(folder) / "config.json").write_text("half")
        raise KeyboardInterrupt

    file = write_gguf(tiny_llama(), tmp_path / "tiny.gguf")
    with monkeypatch.context() as patched:
        patched.setattr(PreTrainedModel, "save_pretrained", interrupted)
        with pytest.raises(KeyboardInterrupt):
            causal_lm(path=str(file), **options)
    assert {path.name for path in (tmp_path / "cache").iterdir()} == {".locks"}
    causal_lm(path=str(file), **options)


def test_without_weights_it_is_random(tmp_path: Path, options: Options) -> None:
    model = tiny_llama()
    path = saved(model, tmp_path / "llama")
    (tmp_path / "llama" / "model.safetensors").unlink()
    torch.manual_seed(1)
    net = causal_lm(path=path, **{**options, "load_weights": False})
    assert net.hf.config.num_key_value_heads == 2
    assert float(net.hf.lm_head.weight.detach().std()) == pytest.approx(0.2, rel=0.1)
    assert not torch.equal(net.hf.lm_head.weight, model.lm_head.weight)


def test_weights_may_be_of_another_type(tmp_path: Path, options: Options, x: torch.Tensor) -> None:
    path = saved(tiny_llama().to(torch.bfloat16), tmp_path / "llama")
    assert causal_lm(path=path, **options)(x).dtype == torch.float32
    net = causal_lm(path=path, **{**options, "dtype": "bfloat16"})
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}


@torch.no_grad()
def test_a_decoder_answers_at_the_last_token_before_the_padding(
    tmp_path: Path, options: Options, x: torch.Tensor
) -> None:
    path = saved(tiny_llama(pad_token_id=60), tmp_path / "llama")
    net = classifier(
        path=path, num_classes=3, output="hf.score", head_rule="kept", **options
    ).eval()
    padded = x.clamp(max=59)
    padded[0, 9:] = -1
    assert net(padded).shape == (3, 3)
    torch.testing.assert_close(net(padded)[:1], net(padded[:1, :9]))


@torch.no_grad()
def test_an_encoder_does_not_see_the_padding(
    tmp_path: Path, options: Options, x: torch.Tensor
) -> None:
    model = tiny_bert(num_labels=3)
    path = saved(model, tmp_path / "bert")
    net = classifier(path=path, num_classes=3, output="hf.classifier", head_rule="kept", **options)
    net.eval()
    assert torch.equal(net(x), model(x).logits)
    padded = x.clone()
    padded[0, 9:] = -1
    torch.testing.assert_close(net(padded)[:1], model(x[:1, :9]).logits)


def test_a_head_that_the_weights_lack_begins_at_random(
    tmp_path: Path, options: Options, x: torch.Tensor
) -> None:
    path = saved(tiny_bert(), tmp_path / "bert")
    net = classifier(path=path, num_classes=5, output="hf.classifier", head_rule="kept", **options)
    assert net(x).shape == (3, 5)


def test_a_head_for_other_classes_is_begun_afresh_where_that_is_wanted(
    tmp_path: Path, options: Options, x: torch.Tensor
) -> None:
    path = saved(tiny_bert(num_labels=3), tmp_path / "bert")
    net = classifier(path=path, num_classes=5, output="hf.classifier", head_rule="fresh", **options)
    assert net(x).shape == (3, 5)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("recipe", ["full", "galore", "lora", "pissa", "dora", "adalora"])
def test_a_method_adapts_a_model_whose_head_is_its_embeddings(
    over_bytes: Config, tmp_path: Path, recipe: str, tied: bool
) -> None:
    path = saved(tiny_llama(tied, vocab_size=257), tmp_path / "llama")
    before = contents(tmp_path / "llama")
    cfg = over_bytes("model=hf_causal_lm", f"method={recipe}", "lr=0.01")
    cfg.model.path = path
    prepared = prepare(cfg)
    assert len(prepared.method.targets) == 14
    losses = updates(prepared, 5)
    assert losses[-1] < losses[0]
    net: Any = prepared.model
    assert (net.hf.lm_head.weight is net.hf.model.embed_tokens.weight) is tied
    state = net.state_dict()
    assert torch.equal(state["hf.lm_head.weight"], state["hf.model.embed_tokens.weight"]) is tied
    moved = not torch.equal(state["hf.lm_head.weight"], prepared.plain["hf.lm_head.weight"])
    assert moved is (recipe in ("full", "galore"))
    assert contents(tmp_path / "llama") == before


def test_a_head_that_is_the_embeddings_trains_where_it_is_named(
    over_bytes: Config, tmp_path: Path
) -> None:
    cfg = over_bytes("model=hf_causal_lm", "model.head=hf.lm_head", "method=lora")
    cfg.model.path = saved(tiny_llama(tied=True, vocab_size=257), tmp_path / "llama")
    _, model, *_ = prepare(cfg)
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert "hf.model.embed_tokens.weight" in trained
    assert "hf.model.norm.weight" not in trained


def test_a_tied_model_keeps_its_tie_through_a_state_dict(
    tmp_path: Path, options: Options, x: torch.Tensor
) -> None:
    net = causal_lm(path=saved(tiny_llama(tied=True), tmp_path / "llama"), **options)
    other = causal_lm(path=str(tmp_path / "llama"), **{**options, "load_weights": False})
    other.load_state_dict(net.state_dict())
    assert other.hf.lm_head.weight is other.hf.model.embed_tokens.weight
    assert torch.equal(net(x), other(x))


def test_the_base_is_the_models_own_unless_said_otherwise(over_bytes: Config) -> None:
    assert over_bytes("model=hf_causal_lm").base.name == "from_model"
    assert over_bytes("model=hf_classifier").base.load_weights
    assert not over_bytes("model=hf_causal_lm", "base=scratch").model.load_weights
    assert over_bytes("model=llama_micro").base.name == "scratch"


def test_from_scratch_all_but_the_targets_trains_whole(over_bytes: Config, tmp_path: Path) -> None:
    cfg = over_bytes("model=hf_causal_lm", "base=scratch", "method=lora")
    cfg.model.path = saved(tiny_llama(vocab_size=257), tmp_path / "llama")
    _, model, method, *_ = prepare(cfg)
    frozen = {name for name, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {f"{name}.base.weight" for name in method.targets}


@pytest.mark.parametrize(
    ("preset", "llama", "bert"),
    [("attention", 8, 8), ("mlp", 6, 4), ("all-linear", 14, 12), ("qv", 4, 4)],
)
def test_presets_know_the_names_of_architectures(
    over_bytes: Config, tmp_path: Path, preset: str, llama: int, bert: int
) -> None:
    cfg = over_bytes("model=hf_causal_lm", f"method.targets={preset}")
    cfg.model.path = saved(tiny_llama(vocab_size=257), tmp_path / "llama")
    assert len(prepare(cfg).method.targets) == llama
    model: Any = build_model(cfg)
    assert "hf.lm_head" not in prepare(cfg).method.targets
    assert model.hf.config.vocab_size == 257
    net = tiny_bert(num_labels=2)
    assert len(_hits(cfg.model.presets[preset], net)) == bert


def _hits(globs: list[str], hf: Any) -> list[str]:
    from lowrank_bench.names import match

    layers = [f"hf.{n}" for n, m in hf.named_modules() if isinstance(m, torch.nn.Linear)]
    return match(list(globs), layers, key="preset")


@pytest.mark.parametrize("recipe", ["full", "lora", "galore"])
def test_a_classifier_learns_labelled_text(
    composed: Config, tokens_folder: Path, tmp_path: Path, recipe: str
) -> None:
    rows = [f"{word} {n},{word[0]}" for n in range(20) for word in ("good", "bad")]
    (tmp_path / "texts.csv").write_text("\n".join(["text,label", *rows]))
    cfg = composed(
        "data=text_classification",
        f"data.path={tmp_path / 'texts.csv'}",
        "data.num_classes=2",
        "data.length=16",
        f"data.cache={tokens_folder}",
        "model=hf_classifier",
        f"model.path={saved(tiny_bert(vocab_size=257), tmp_path / 'bert')}",
        f"method={recipe}",
        "lr=0.003",
        "rank=4",
    )
    prepared = prepare(cfg)
    prepared.model.eval()  # without dropout the losses of one batch are comparable
    assert len(prepared.method.targets) == 12
    assert prepared.model.get_submodule("hf.classifier").weight.requires_grad
    losses = updates(prepared, 8, batch_size=16)
    assert losses[-1] < losses[0]
