"""A composed config, and what follows from it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from lowrank_bench import environment
from lowrank_bench.base import base_config, resolved_base
from lowrank_bench.build import build
from lowrank_bench.identity import Identity, identify
from lowrank_bench.record import RunRecord
from lowrank_bench.store import Store


@dataclass(frozen=True, eq=False)
class Job:
    """A composed config and the overrides that made it."""

    cfg: DictConfig
    overrides: Sequence[str]
    dependent: "Job | None" = None  # of a base: the run that it is for

    @cached_property
    def base(self) -> "Job | None":
        """The run that trains the base of this one, if one does."""
        cfg = base_config(self.cfg)
        return None if cfg is None else Job(cfg, [], dependent=self)

    @cached_property
    def identity(self) -> Identity:
        return identify(self.cfg)

    @cached_property
    def store(self) -> Store:
        return Store(Path(self.cfg.run.dir))

    @cached_property
    def data_checksum(self) -> str | None:
        """Of the data as they lie there now; read here, so that forked runs inherit them.

        A base's source is part of it: what was trained on another base is another result.
        """
        nodes = [self.cfg.data, *filter(None, [self.cfg.base.source])]
        readers = [node.get("reader") for node in nodes]
        sums = [build(r, "data.reader").checksum for r in readers if r is not None]
        known = [each for each in sums if each is not None]
        return "+".join(known) or None

    @cached_property
    def choices(self) -> dict[str, str | None]:
        """Config groups and what was chosen of them, Hydra's own aside."""
        if self.dependent is not None:
            theirs = self.dependent.choices
            own = {
                "method": theirs.get("method@base.method"),
                "data": theirs.get("data@base.source"),
            }
            return own | {"model": theirs["model"], "base": self.cfg.base.name, "logger": None}
        choices = OmegaConf.to_container(self.cfg.hydra.runtime.choices)
        assert isinstance(choices, dict)
        return {str(k): v for k, v in choices.items() if not str(k).startswith("hydra/")}

    @property
    def made_with(self) -> str:
        """What a checkpoint must have been made with to be taken up."""
        stamp = {package: environment.versions()[package] for package in environment.DECISIVE}
        return json.dumps(stamp | {"data_checksum": self.data_checksum}, sort_keys=True)

    def new_record(self) -> RunRecord:
        """What is known of the run before it starts."""
        cfg, identity = self.cfg, self.identity
        config = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
        container = OmegaConf.to_container(config, resolve=True)
        assert isinstance(container, dict)
        container["base"] = resolved_base(cfg)
        return RunRecord(
            status="failed",
            fingerprint=identity.fingerprint,
            control_hash=identity.control_hash,
            method_hash=identity.method_hash,
            seed=identity.seed,
            name=identity.name,
            config={str(key): value for key, value in container.items()},
            choices=self.choices,
            overrides=list(self.overrides),
            env=environment.describe(num_devices=cfg.run.devices, threads=cfg.run.threads)
            | {"data_checksum": self.data_checksum},
            base={} if self.base is None else {"fingerprint": self.base.identity.fingerprint},
        )
