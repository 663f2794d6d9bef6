"""A config composed outside of any command, whatever else uses Hydra in this process."""

from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from hydra.version import VersionBase
from omegaconf import DictConfig, open_dict
from packaging.version import Version

from lowrank_bench.checks import check_choices
from lowrank_bench.config_dir import check_folder, config_dir
from lowrank_bench.errors import ConfigError

VERSION_BASE = Version("1.3")


def composed(
    overrides: Sequence[str], folder: str | Path | None = None, *, with_hydra: bool = False
) -> DictConfig:
    """What `lowrank-bench OVERRIDES --config-dir FOLDER` would train, Hydra's own node aside.

    Hydra's `compose` needs its global instance, which another app, a notebook or a test may
    hold; here nothing global is left changed.

    Raises: ConfigError when `folder` is none or holds a YAML with the path of a packaged one;
    Hydra's errors for overrides that do not fit.
    """
    check_choices(overrides)
    search_path = create_config_search_path(str(config_dir()))
    if folder is not None:
        if not Path(folder).is_dir():
            raise ConfigError(f"config_dir={folder}: there is no such folder")
        check_folder(Path(folder))
        place = f"file://{Path(folder).resolve()}"
        search_path.prepend("command-line", place, SearchPathQuery(provider="schema"))
    base = VersionBase.instance()
    kept = base.getbase()
    base.setbase(VERSION_BASE)
    try:
        cfg = ConfigLoaderImpl(search_path).load_configuration(
            "train", list(overrides), run_mode=RunMode.RUN, from_shell=False
        )
    finally:
        base.version_base = kept
    if not with_hydra:
        with open_dict(cfg):
            del cfg["hydra"]
    return cfg


def composed_each(
    points: Sequence[Sequence[str]], folder: str | Path | None = None
) -> list[DictConfig]:
    """`composed` for each point of a sweep."""
    folders = [config_dir(), *([Path(folder)] if folder is not None else [])]
    return list(sharing(points, folders, lambda chosen: composed(chosen, folder)))


def sharing(
    points: Sequence[Sequence[str]],
    folders: Sequence[Path],
    compose: Callable[[list[str]], DictConfig],
) -> Iterator[DictConfig]:
    """The configs that `compose` would give for the points of a sweep.

    Hydra reads and merges some thirty files for one, 0.1 to 0.3 s. Points that choose the same
    files, from `folders`, share that, and only set their values, as Hydra does it last.
    """
    parser = OverridesParser.create()
    read: dict[tuple[str, ...], DictConfig] = {}
    for point in points:
        parsed = parser.parse_overrides(list(point))
        chosen = tuple(str(each.input_line) for each in parsed if _chooses(each, folders))
        if chosen not in read:
            read[chosen] = compose(list(chosen))
        cfg = deepcopy(read[chosen])
        values = [each for each in parsed if not _chooses(each, folders)]
        ConfigLoaderImpl._apply_overrides_to_config(values, cfg)
        yield cfg


def first_point(words: Sequence[str]) -> list[str]:
    """The overrides of a sweep's first run."""
    parsed = OverridesParser.create().parse_overrides([*words])
    (points,) = BasicSweeper.split_arguments(parsed, None)
    return points[0]


def is_choice(word: str, folder: str | Path | None = None) -> bool:
    """Whether an override may decide which files are read, or is not as simple as a value."""
    (parsed,) = OverridesParser.create().parse_overrides([word])
    return _chooses(parsed, [config_dir(), *([Path(folder)] if folder is not None else [])])


def _chooses(override: Override, folders: Sequence[Path]) -> bool:
    key = override.key_or_group
    plain = not (override.is_add() or override.is_delete() or override.package)
    return not plain or key.startswith("hydra") or any((each / key).is_dir() for each in folders)
