"""Optuna's TPE as the search of a study, within the same budget as the grid.

Hydra's own Optuna sweeper cannot resume. Here every question is put to a study that is made anew
from the trials so far, with a seed of its own, so that a search that was killed asks for the same
settings again; and what is known so far is written to a journal that Optuna's own tools read.
"""

import zlib
from pathlib import Path
from typing import Any

from lowrank_bench.errors import ConfigError
from lowrank_bench.protocol.ledger import Setting
from lowrank_bench.protocol.search import LR, Scored, Space

JOURNAL = "optuna.log"


def require_optuna() -> None:
    """Raises: ConfigError without the package."""
    try:
        import optuna  # noqa: F401
    except ImportError:
        raise ConfigError(
            "study.search=optuna: the package is missing; pip install 'lowrank-bench[optuna]'"
        ) from None


def next_settings(space: Space, trials: Scored, budget: int, *, name: str) -> list[Setting]:
    """What to try next: a first round of `space.first`, then one at a time."""
    count = min(space.first if not trials else 1, budget - len(trials))
    if count <= 0:
        return []
    import optuna

    study = _study(space, trials, seed=zlib.crc32(f"{name} {len(trials)}".encode()))
    tried = [setting for setting, _ in trials]
    found: list[Setting] = []
    while len(found) < count:
        trial = study.ask(_distributions(space))
        setting = _setting(trial.params, space)
        if setting in [*tried, *found]:  # the same rate in three digits tells nothing new
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            continue
        found.append(setting)
    return found


def write_journal(folder: Path, searched: dict[str, tuple[Space, Scored]]) -> None:
    """All arms' trials as studies of one journal, for optuna-dashboard and the like."""
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    path = folder / JOURNAL
    path.unlink(missing_ok=True)
    storage = JournalStorage(JournalFileBackend(str(path)))
    for name, (space, trials) in searched.items():
        _quiet(optuna)
        study = optuna.create_study(study_name=name, storage=storage, direction="maximize")
        study.add_trials(_frozen(space, trials))


def _study(space: Space, trials: Scored, *, seed: int) -> Any:
    import optuna

    _quiet(optuna)
    sampler = optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=space.first, constant_liar=True, multivariate=False
    )
    study = optuna.create_study(direction="maximize", sampler=sampler)
    study.add_trials(_frozen(space, trials))
    return study


def _quiet(optuna: Any) -> None:
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def _distributions(space: Space) -> dict[str, Any]:
    """Rates as far around the centre as the grid's; knobs as categories, the recipe's own first."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    reach = 10 ** (max(2, space.first - 1) / 2 / space.per_decade)
    found: dict[str, Any] = {
        LR: FloatDistribution(space.centre / reach, space.centre * reach, log=True)
    }
    for key, values in space.knobs.items():
        found[key] = CategoricalDistribution([_OWN, *values])
    return found


_OWN = "recipe"  # of a knob: as the recipe has it


def _setting(params: dict[str, Any], space: Space) -> Setting:
    knobs = {key: params[key] for key in space.knobs if params[key] != _OWN}
    return {LR: float(f"{params[LR]:.3g}")} | knobs


def _frozen(space: Space, trials: Scored) -> list[Any]:
    from optuna.trial import TrialState, create_trial

    distributions = _distributions(space)
    low, high = distributions[LR].low, distributions[LR].high
    return [
        create_trial(
            params={key: setting.get(key, _OWN) for key in space.knobs}
            | {LR: min(max(setting[LR], low), high)},
            distributions=distributions,
            state=TrialState.COMPLETE if score is not None else TrialState.FAIL,
            value=score,
        )
        for setting, score in trials
    ]
