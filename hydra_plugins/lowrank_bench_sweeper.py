"""Registers the sweeper with Hydra, which looks for plugins in this namespace alone."""

from dataclasses import dataclass
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser


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
    that stands twice in the grid or is finished already is not launched."""

    def sweep(self, arguments: list[str]) -> Any:
        from lowrank_bench.job import Job
        from lowrank_bench.session import SESSION

        assert self.config is not None and self.launcher is not None and self.hydra_context
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        overrides = parser.parse_overrides([*self._parse_config(), *arguments])
        (grid,) = self.split_arguments(overrides, None)
        jobs = [Job(loader.load_sweep_config(self.config, point), point) for point in grid]
        pending = SESSION.plan(jobs)
        if pending:
            self.launcher.launch([job.overrides for job in pending], initial_job_idx=0)
        SESSION.train_deferred()
        return []
