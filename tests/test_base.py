"""The node `base`: what it trains, what it gives to a run, and what a run makes of it."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from torch import nn

from lowrank_bench.base import base_config, has_base, of_the_base, resolved_base
from lowrank_bench.checks import check
from lowrank_bench.config_dir import config_dir
from lowrank_bench.errors import ConfigError
from lowrank_bench.identity import identify
from lowrank_bench.job import Job
from lowrank_bench.prepare import build_model, prepare
from lowrank_bench.weights import checksum, draw_anew, take_over

pytestmark = pytest.mark.filterwarnings("ignore:.*treespec, LeafSpec:FutureWarning")

Compose = Callable[..., DictConfig]
Fit = Callable[..., tuple[Any, list[dict[str, Any]]]]

PAIR = ("pair=digits_halves", "model.hidden=[16,16]", "rank=4")
WITHOUT_A_BASE = {"ae", "cola", "lowrank", "sltrain"}  # factors in the place of the weight
RECIPES = sorted(path.stem for path in (config_dir() / "method").glob("*.yaml"))
ADAPTING = [name for name in RECIPES if name not in WITHOUT_A_BASE]


def trained(model: nn.Module) -> set[str]:
    return {name for name, p in model.named_parameters() if p.requires_grad}


# What is trained for a base


def test_a_base_is_a_run_of_the_full_model_on_the_source(composed: Compose) -> None:
    cfg = composed(*PAIR, "method=lora", "lr=0.5", "base.lr=0.01", "base.method.optimizer.eps=0.1")
    base = base_config(cfg)
    assert base is not None
    assert base.method.name == "full"
    assert (base.method.optimizer.lr, base.method.optimizer.eps) == (0.01, 0.1)
    assert list(base.data.classes) == [0, 1, 2, 3, 4]
    assert base.model.num_classes == 5
    assert base.base.name == "scratch"
    assert base.run.dir == "runs/.bases"
    assert base_config(base) is None
    assert (cfg.run.dir, cfg.base.name, cfg.method.name) == ("runs", "pretrained_here", "lora")


def test_no_base_is_trained_where_none_is_wanted(composed: Compose) -> None:
    assert base_config(composed()) is None
    assert base_config(composed("base=from_model")) is None
    assert not has_base(composed())
    assert has_base(composed("base=from_model"))
    assert has_base(composed(*PAIR))


KNOBS_OF_THE_RUN = [
    *("lr=0.5", "rank=7", "seed=3", "epochs=2", "precision=64-true", "method=galore"),
    *("budget.batch_size=7", "budget.clip_norm=1", "budget.selection=best_val_loss"),
    *("budget.updates_per_epoch=3", "data.val_size=50", "data.split_seed=3", "base.head=kept"),
    *("run.threads=2", "run.devices=2", "run.accumulate=2", "run.compile=true", "run.dir=other"),
    *("run.checkpoint_activations=true", "run.eval_batch_size=7", "logger=local"),
]


@pytest.mark.parametrize("knob", KNOBS_OF_THE_RUN)
def test_no_knob_of_the_run_makes_another_base(composed: Compose, knob: str) -> None:
    for more in ((), ("method/optimizer@base.method.optimizer=muon",)):  # which has another lr
        plain, turned = (base_config(composed(*PAIR, *more, *k)) for k in ((), (knob,)))
        assert plain is not None and turned is not None
        assert identify(plain) == identify(turned)


@pytest.mark.parametrize("knob", ["lr=0.5", "rank=7", "seed=3", "method=galore"])
def test_what_is_swept_leaves_the_control_of_runs_on_a_base(composed: Compose, knob: str) -> None:
    muon = "method/optimizer@base.method.optimizer=muon"  # its recipe interpolates the run's lr
    plain, turned = identify(composed(*PAIR, muon)), identify(composed(*PAIR, muon, knob))
    assert plain.control_hash == turned.control_hash
    assert plain.fingerprint != turned.fingerprint


@pytest.mark.parametrize(
    "override",
    [
        *("base.lr=0.5", "base.seed=3", "base.epochs=2", "base.precision=64-true"),
        *("base.budget.batch_size=7", "base.method.optimizer.weight_decay=0.5"),
        *("base.source.val_size=50", "base.source.classes=[0,1,2,3,5]", "model.hidden=[8]"),
    ],
)
def test_another_base_makes_other_runs(composed: Compose, override: str) -> None:
    plain, other = composed(*PAIR), composed(*PAIR, override)
    bases = [base_config(cfg) for cfg in (plain, other)]
    assert identify(bases[0]).fingerprint != identify(bases[1]).fingerprint  # type: ignore[arg-type]
    assert identify(plain).control_hash != identify(other).control_hash
    assert identify(plain).method_hash == identify(other).method_hash


@pytest.mark.parametrize("rule", ["kept", "frozen"])
def test_the_rule_for_the_head_is_part_of_the_control(composed: Compose, rule: str) -> None:
    plain, other = identify(composed(*PAIR)), identify(composed(*PAIR, f"base.head={rule}"))
    assert plain.control_hash != other.control_hash


def test_the_record_says_how_the_base_was_trained(composed: Compose) -> None:
    muon = "method/optimizer@base.method.optimizer=muon"
    cfg = composed(*PAIR, muon, "lr=0.5", "base.lr=0.01")
    rates = str(resolved_base(cfg)["method"]["optimizer"])
    assert "0.01" in rates and "0.5" not in rates
    job = Job(OmegaConf.create({**cfg, "hydra": {"runtime": {"choices": {"model": "mlp"}}}}), [])
    assert job.base is not None
    record = job.new_record()
    assert record.base == {"fingerprint": job.base.identity.fingerprint}
    assert record.config["base"]["method"] == resolved_base(cfg)["method"]
    assert job.base.new_record().choices["model"] == "mlp"


def test_a_mistake_of_the_base_is_told_by_its_own_key() -> None:
    for line, told in {
        "data.val_size=9: with data.test_size=8 nothing": "base.source.val_size=9: with base.source"
        ".test_size=8 nothing",
        "lr=0: must be": "base.lr=0: must be",
        "method.targets: the glob": "base.method.targets: the glob",
        "model.head=x: no lr here, see /data.csv": "model.head=x: no lr here, see /data.csv",
    }.items():
        with pytest.raises(ConfigError) as error, of_the_base():
            raise ConfigError(line)
        assert str(error.value) == told


def test_a_budget_of_ones_own_must_be_whole(composed: Compose) -> None:
    cfg = composed(*PAIR)
    del cfg.base.budget.clip_norm
    with pytest.raises(ConfigError, match=r"^base\.budget\.clip_norm: is missing; null is none$"):
        check(cfg)


# What a base gives to a run


def grown(cfg: DictConfig) -> nn.Module:
    base = base_config(cfg)
    assert base is not None
    torch.manual_seed(7)
    return build_model(base)


def test_a_fresh_head_is_the_runs_and_all_else_the_bases(composed: Compose) -> None:
    cfg = composed(*PAIR, "method=lora")
    weights = grown(cfg).state_dict()
    torch.manual_seed(0)
    drawn = build_model(cfg).state_dict()
    _, _, _, source, plain = prepare(cfg, weights)
    for name, weight in plain.items():
        expected = drawn if name.startswith("head.") else weights
        assert torch.equal(weight, expected[name]), name
    assert source is not None and source.head is not None
    assert torch.equal(source.head.get_parameter("weight"), weights["head.weight"])


@pytest.mark.parametrize("rule", ["kept", "frozen"])
def test_a_head_that_is_not_fresh_is_the_bases(composed: Compose, rule: str) -> None:
    cfg = composed(*PAIR, "method=full", f"base.head={rule}")
    weights = grown(cfg).state_dict()
    _, model, _, source, _ = prepare(cfg, weights)
    assert all(torch.equal(value, weights[name]) for name, value in model.state_dict().items())
    assert source is not None and source.head is None


def test_what_the_run_draws_is_not_moved_by_its_base(composed: Compose) -> None:
    cfg = composed(*PAIR, "method=lora")
    one, other = prepare(cfg).model, prepare(cfg, grown(cfg).state_dict()).model
    for name in trained(one):
        assert torch.equal(one.get_parameter(name), other.get_parameter(name)), name


def test_a_head_of_another_size_is_refused_unless_it_is_fresh(composed: Compose) -> None:
    other = ("data.classes=[5,6,7]", "data.num_classes=3")
    prepare(composed(*PAIR, *other))
    with pytest.raises(ConfigError, match=r"^base\.source: 'head\.weight' is .*base\.head=fresh$"):
        prepare(composed(*PAIR, *other, "base.head=kept"))


def test_a_weight_that_only_one_side_has_is_named() -> None:
    small = nn.Sequential(nn.Linear(2, 2))
    large = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    for model, base in ((small, large), (large, small)):
        with pytest.raises(ConfigError, match=r"^base\.source: '1\.weight' is .*missing"):
            take_over(model, base, head=None, rule="kept")


def test_a_head_is_drawn_anew_by_its_seed_alone() -> None:
    heads = [nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2)) for _ in range(3)]
    for head, seed in zip(heads, (1, 1, 2), strict=True):
        draw_anew(head, seed)
    one, same, other = (checksum(head.state_dict()) for head in heads)
    assert one == same != other

    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(2))

    with pytest.raises(ConfigError, match=r"^base\.head=fresh: .*1\.scale of the head \(Odd\)"):
        draw_anew(nn.Sequential(nn.Linear(2, 2), Odd()), 0)


def test_the_checksum_sees_names_shapes_types_and_bytes() -> None:
    weights = [
        {"a": torch.zeros(4)},
        {"b": torch.zeros(4)},
        {"a": torch.zeros(2, 2)},
        {"a": torch.zeros(4, dtype=torch.int32)},
        {"a": torch.tensor([0.0, 0, 0, 1])},
        {"a": torch.zeros(4, dtype=torch.bfloat16)},
        {"a": torch.zeros(0)},
    ]
    assert len({checksum(each) for each in weights}) == len(weights)
    assert checksum({"a": torch.arange(6.0).view(2, 3).T.contiguous()}) == checksum(
        {"a": torch.arange(6.0).view(2, 3).T}
    )


# What a method makes of it


@pytest.mark.parametrize("recipe", ADAPTING)
def test_a_method_trains_what_it_should_and_the_head_by_its_rule(
    composed: Compose, recipe: str
) -> None:
    plain = trained(prepare(composed(f"method={recipe}", *PAIR[1:])).model)
    rest = {name for name in plain if not name.startswith("head.")}
    fresh = prepare(composed(f"method={recipe}", *PAIR))
    assert trained(fresh.model) == rest | {"head.weight", "head.bias"}
    assert "head" not in fresh.method.targets
    kept = prepare(composed(f"method={recipe}", *PAIR, "base.head=kept"))
    assert trained(kept.model) == plain
    frozen = composed(f"method={recipe}", *PAIR, "base.head=frozen")
    if rest:
        assert trained(prepare(frozen).model) == rest
    else:
        with pytest.raises(ConfigError, match=r"^method\.trainable: nothing would train .*frozen$"):
            prepare(frozen)


@pytest.mark.parametrize("recipe", ADAPTING)
def test_a_method_learns_on_a_base_and_its_own_head_comes_back(fit: Fit, recipe: str) -> None:
    line = ("epochs=2", "budget.updates_per_epoch=4", "lr=0.01")
    task, rows = fit(*PAIR, f"method={recipe}", *line, log_every=1)
    losses = [row["loss"] for row in rows if "loss" in row]
    assert len(losses) == 8
    epochs = [row for row in rows if "epoch" in row]
    assert all(0 <= row["source_accuracy"] <= 1 and row["source_loss"] > 0 for row in epochs)
    source = task._source[0]
    assert task.model.head is not source.head
    assert trained(task.model) >= {"head.weight", "head.bias"}
    assert not trained(source.head)
    assert not any(torch.equal(p, q) for p, q in _heads(task))
    assert len([name for name in task.state_dict() if "head" in name]) == 2


def _heads(task: Any) -> Any:
    return zip(task.model.head.parameters(), task._source[0].head.parameters(), strict=True)


@pytest.mark.parametrize("recipe", sorted(WITHOUT_A_BASE))
def test_factors_in_the_place_of_a_pretrained_weight_are_refused(
    composed: Compose, recipe: str
) -> None:
    with pytest.raises(ConfigError, match=r"^method\.init=\w+: 'hidden\.0' .* base=scratch"):
        prepare(composed(*PAIR, f"method={recipe}"))


def test_a_dense_weight_drawn_anew_is_refused_too(composed: Compose) -> None:
    with pytest.raises(ConfigError, match=r"^method\.init=product_variance: 'hidden\.0' \(Linear"):
        prepare(composed(*PAIR, "method=full", "method/init=product_variance"))


def test_factors_that_begin_at_the_pretrained_weight_are_its_best_approximation(
    composed: Compose,
) -> None:
    cfg = composed(*PAIR, "method=lowrank", "method/init=spectral")
    weights = grown(cfg).state_dict()
    model: Any = prepare(cfg, weights).model
    for i in (0, 1):
        weight = weights[f"hidden.{i}.weight"]
        error = torch.linalg.matrix_norm(model.hidden[i].effective_weight() - weight)
        best = torch.linalg.svdvals(weight)[4:].norm()  # Eckart and Young: nothing is nearer
        torch.testing.assert_close(error, best, rtol=1e-4, atol=1e-6)
        assert torch.equal(model.hidden[i].bias, weights[f"hidden.{i}.bias"])
    assert isinstance(model.head, nn.Linear)
