"""A finished run's model, built again from its folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import Tensor, nn

from lowrank_bench.base import FOLDER, base_config
from lowrank_bench.callbacks.checkpoints import BEST
from lowrank_bench.errors import ConfigError
from lowrank_bench.head import Head
from lowrank_bench.models.spelt import published
from lowrank_bench.prepare import build_model, prepare
from lowrank_bench.record import FILE, LAST, RunRecord
from lowrank_bench.weights import base_checksum, load_base

EXAMPLES = 4  # what an export must compute the same of


@dataclass(frozen=True, eq=False)
class Rebuilt:
    """The model of a run as its rule of selection left it, and the base that it began with."""

    record: RunRecord
    cfg: DictConfig
    model: nn.Module  # adapted, evaluating
    plain: dict[str, Tensor]  # the base's weights by their names in the plain network
    examples: Tensor  # (n, ...) of the training data

    @property
    def layers(self) -> dict[str, Any]:
        """The layers that stand in for linear ones, by name."""
        return {name: m for name, m in self.model.named_modules() if hasattr(m, "domain")}

    @property
    def base_is_elsewhere(self) -> bool:
        """Whether the base's weights are to be had elsewhere, as the model's own."""
        return self.cfg.base.load_weights and base_config(self.cfg) is None

    def fresh(self) -> nn.Module:
        """The plain network with the base's weights."""
        model = _network(self.cfg).to(_type_of(self.plain.values()))
        model.load_state_dict(self.plain)
        return model.eval().requires_grad_(False)

    def published(self) -> nn.Module:
        """`fresh`, by the classes and names under which others know such a network."""
        return published(self.fresh()).eval().requires_grad_(False)

    @torch.no_grad()
    def outputs(self, model: nn.Module) -> Tensor:
        """What `model` makes of the examples."""
        return model.eval()(self.examples).float()


def rebuilt(run: Path) -> Rebuilt:
    """Build the model of the run in the folder `run` from its record and checkpoint.

    Nothing is unpickled but tensors and plain values.
    Raises: ConfigError, one line, for a folder without a finished run, a checkpoint that is
    missing or torn, a base that is gone or another than the run began with, and weights that
    are not finite.
    """
    record = _record(run)
    try:
        cfg = OmegaConf.create(record.config)
        last = cfg.budget.selection == "last"
        base = _base(run, record, cfg)
        prepared = prepare(cfg, None if base is None else _loaded(base, "the base's checkpoint"))
        drawn = None if prepared.plain else _network(cfg).state_dict()
    except OmegaConfBaseException as error:
        raise ConfigError(
            f"RUN={run}: its config is not one of this version ({' '.join(str(error).split())})"
        ) from None
    known = record.base.get("weights_checksum")
    here = base_checksum(prepared.plain, Head.of(cfg.model, cfg.base))
    if known is not None and known != here:
        raise ConfigError(
            f"RUN={run}: the base's weights are not those that it began with (checksum {known}, "
            f"here {here})"
        )
    state = _loaded(run / (LAST if last else BEST), "its checkpoint")
    if broken := [name for name, t in state.items() if not t.isfinite().all()]:
        raise ConfigError(f"RUN={run}: '{broken[0]}' holds NaN or infinity: the training diverged")
    kind = _type_of(state.values())
    model = prepared.model.to(kind)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ConfigError(
            f"RUN={run}: its weights do not fit the model of its config; made by another version? "
            f"({' '.join(str(error).split())[:200]})"
        ) from None
    examples = prepared.data.train.fetch(slice(0, EXAMPLES))[0]
    return Rebuilt(
        record,
        cfg,
        model.eval().requires_grad_(False),
        {
            n: t.to(kind) if t.is_floating_point() else t
            for n, t in (drawn or prepared.plain).items()
        },
        examples.to(kind) if examples.is_floating_point() else examples,
    )


def _record(run: Path) -> RunRecord:
    if not (run / FILE).is_file():
        raise ConfigError(f"RUN={run}: is no folder of a run, since it has no {FILE}")
    try:
        record = RunRecord.read(run / FILE)
    except ValueError as error:
        raise ConfigError(f"RUN={error}") from None
    if record.status != "finished":
        told = f" ({record.error['message']})" if record.error else ""
        raise ConfigError(f"RUN={run}: its training is not finished but {record.status}{told}")
    return record


def _base(run: Path, record: RunRecord, cfg: DictConfig) -> Path | None:
    """The checkpoint of the base that was trained for the run; None where there was none."""
    if (base := base_config(cfg)) is None:
        return None
    fingerprint = record.base.get("fingerprint")
    own = LAST if base.budget.selection == "last" else BEST
    place = run.resolve().parent / FOLDER
    for folder in sorted(place.glob(f"*-{fingerprint}")):
        if (folder / own).is_file():
            return folder / own
    raise ConfigError(
        f"RUN={run}: the base that it began with is not in {place} (fingerprint {fingerprint}); "
        "put it there again, or train it by any run that begins with it"
    )


def _loaded(checkpoint: Path, what: str) -> dict[str, Tensor]:
    try:
        return load_base(checkpoint)
    except FileNotFoundError:
        raise ConfigError(f"RUN={checkpoint.parent}: {what} {checkpoint.name} is missing") from None
    except Exception as error:  # torch, zipfile and pickle each have their own for a torn file
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ConfigError(
            f"RUN={checkpoint.parent}: {what} {checkpoint.name} cannot be read ({said})"
        ) from None


def _network(cfg: DictConfig) -> nn.Module:
    """The plain network as the run drew it, or as it brings its weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(cfg.seed)
        return build_model(cfg)


def _type_of(tensors: Iterable[Tensor]) -> torch.dtype:
    """That of the weights: a run of precision bf16-true has none in single."""
    return next(t.dtype for t in tensors if t.is_floating_point())
