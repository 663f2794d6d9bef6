"""Where a model of Hugging Face lies: in a folder, a GGUF file, a package, or on the hub."""

from dataclasses import dataclass
from pathlib import Path

from lowrank_bench.errors import ConfigError
from lowrank_bench.package_path import PREFIX, located

GGUF = ".gguf"
GGUF_MAGIC = b"GGUF"
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")


@dataclass(frozen=True)
class Origin:
    """What transformers is called with."""

    given: str  # model.path as the user said it
    name: str  # a folder, or a name on the hub
    gguf: str | None  # the name of a file in it
    is_local: bool


def origin(path: str | None, gguf_file: str | None = None) -> Origin:
    """Find the model that `model.path` and `model.gguf_file` name.

    `path` is a folder that save_pretrained left, a .gguf file, `package:NAME/FILE` for a file in
    an installed package (which is not imported), or a name on the hub. `gguf_file` is one in that
    folder or repository.
    Raises: ConfigError when a local path names nothing, or something that is no model.
    """
    if not isinstance(path, str) or not path:
        raise ConfigError(
            f"model.path={path}: say which model: a folder, a .gguf file, or a name on the hub"
        )
    place = Path(located(path, key="model.path")).expanduser().absolute()
    if place.is_dir():
        if gguf_file is not None:
            return _gguf(path, f"model.gguf_file={gguf_file}", place / gguf_file)
        _check_folder(path, place)
        return Origin(path, str(place), None, is_local=True)
    if place.suffix == GGUF and gguf_file is None:
        return _gguf(path, f"model.path={path}", place)
    if place.is_file():
        raise ConfigError(f"model.path={path}: is a file; give its folder, or a {GGUF} file")
    if path.startswith((PREFIX, ".", "/", "~")) or path.count("/") > 1 or "\\" in path:
        raise ConfigError(f"model.path={path}: there is no such folder")
    return Origin(path, path, gguf_file, is_local=False)


def check_weights(origin: Origin) -> None:
    """Raise ConfigError for a folder without weights, or with such as are a pickle."""
    place = Path(origin.name)
    if not origin.is_local or any(place.glob("*.safetensors")):
        return
    found = sorted(file.name for glob in PICKLES for file in place.glob(glob))
    if found:
        raise ConfigError(
            f"model.path={origin.given}: its weights are a pickle ({found[0]}), which can run "
            "code when it is read; only safetensors are loaded: save it again as those"
        )
    raise ConfigError(
        f"model.path={origin.given}: there are no weights (*.safetensors) in it; "
        "base=scratch takes random ones"
    )


def _check_folder(path: str, place: Path) -> None:
    if (place / "config.json").is_file():
        return
    if (place / "adapter_config.json").is_file():
        why = "holds an adapter, not a model; give the model that it belongs to"
    elif files := sorted(file.name for file in place.glob(f"*{GGUF}")):
        why = f"choose a file in it, e.g. model.gguf_file={files[0]}"
    else:
        why = "there is no config.json in it, so it holds no model"
    raise ConfigError(f"model.path={path}: {why}")


def _gguf(path: str, said: str, file: Path) -> Origin:
    if not file.is_file():
        there = sorted(each.name for each in file.parent.glob(f"*{GGUF}"))
        others = f"; there are {', '.join(there[:5])}" if there else ""
        raise ConfigError(f"{said}: there is no file {file}{others}")
    with file.open("rb") as opened:
        if opened.read(len(GGUF_MAGIC)) != GGUF_MAGIC:
            raise ConfigError(f"{said}: is no GGUF file, which begins with 'GGUF'")
    return Origin(path, str(file.parent), file.name, is_local=True)
