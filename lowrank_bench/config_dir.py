"""Where the packaged YAML lies, in a wheel and in a checkout alike."""

from pathlib import Path

from lowrank_bench.errors import ConfigError


def config_dir() -> Path:
    """`<package>/configs` of a wheel, or `configs` beside the package of a checkout."""
    package = Path(__file__).resolve().parent
    places = (package / "configs", package.parent / "configs")
    return next(place for place in places if (place / "train.yaml").exists())


def check_no_shadow(folder: Path) -> None:
    """Raise ConfigError when a user's YAML has the path of a packaged one.

    Hydra would take the packaged one without a word.
    """
    packaged = config_dir()
    for path in sorted(folder.rglob("*.yaml")):
        relative = path.relative_to(folder)
        if (packaged / relative).exists():
            raise ConfigError(
                f"--config-dir={folder}: {relative} has the path of a packaged file, which Hydra "
                "would take instead; give it another name"
            )
