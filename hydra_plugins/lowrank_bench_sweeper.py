"""Registers the sweeper with Hydra, which looks for plugins in this namespace alone."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.types import HydraContext
from omegaconf import DictConfig


@dataclass
class RunOnceSweeperConf:
    _target_: str = "hydra_plugins.lowrank_bench_sweeper.RunOnceSweeper"
    max_batch_size: int | None = None
    params: dict[str, Any] | None = None


ConfigStore.instance().store(
    group="hydra/sweeper", name="lowrank_bench", node=RunOnceSweeperConf, provider="lowrank_bench"
)


class RunOnceSweeper(BasicSweeper):
    """Hydra's own grid, but every job is checked before the first starts, and a fingerprint
    that stands twice in the grid or is finished already is not launched. With `study`, the points
    are its arms, and it says what is trained at them."""

    def sweep(self, arguments: list[str]) -> Any:
        from lowrank_bench.job import Job
        from lowrank_bench.session import SESSION

        assert self.config is not None and self.launcher is not None and self.hydra_context
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        (grid,) = self.split_arguments(overrides, None)
        if self.config.get("study") is not None:
            from lowrank_bench.study.conduct import Study

            Study(grid, self._composed, SESSION).conduct(self._train)
        else:
            self._train([Job(cfg, p) for cfg, p in zip(self._composed(grid), grid, strict=True)])
        return []

    def _train(self, jobs: Sequence[Any], begin: Callable[[], None] = lambda: None) -> None:
        """What of the jobs is not finished yet; and wait for what other processes are at.

        `begin` is called before the first of them trains, when all are seen to be right.
        """
        from lowrank_bench.session import SESSION

        assert self.launcher is not None and self.hydra_context is not None
        pending = SESSION.plan(jobs)
        if pending:
            begin()
            if isinstance(self.launcher, BasicLauncher):  # in this process, one after the other
                loader = self.hydra_context.config_loader
                ready: Any = Composed(loader, {tuple(job.overrides): job.cfg for job in pending})
                self.launcher.hydra_context = HydraContext(ready, self.hydra_context.callbacks)
            self.launcher.launch([job.overrides for job in pending], initial_job_idx=0)
        SESSION.train_deferred()
        if SESSION.mistake is not None:
            raise SESSION.mistake

    def _composed(self, grid: Sequence[list[str]]) -> Iterator[DictConfig]:
        """As the loader would give them, one by one."""
        from lowrank_bench.compose import sharing

        assert self.config is not None and self.hydra_context is not None
        loader, master = self.hydra_context.config_loader, self.config
        sources = master.hydra.runtime.config_sources
        folders = [Path(source.path) for source in sources if source.schema == "file"]
        composed = sharing(grid, folders, lambda chosen: loader.load_sweep_config(master, chosen))
        for cfg, point in zip(composed, grid, strict=True):
            cfg.hydra.overrides.task = point
            yield cfg


class Composed:
    """Hydra's loader, but for points of a grid that were composed to be checked: a launcher would
    compose each again, for 0.1 s."""

    def __init__(self, loader: ConfigLoader, ready: dict[tuple[str, ...], DictConfig]) -> None:
        self._loader, self._ready = loader, ready

    def load_sweep_config(self, master: DictConfig, overrides: list[str]) -> DictConfig:
        ready = self._ready.pop(tuple(overrides), None)
        return self._loader.load_sweep_config(master, overrides) if ready is None else ready

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)
