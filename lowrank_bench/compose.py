"""A config composed outside of any command, whatever else uses Hydra in this process."""

from collections.abc import Sequence
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
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
