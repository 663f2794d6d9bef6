"""Whether W&B has a key, and what to tell about it, without importing W&B.

The parent process of a sweep asks this; it loads neither torch, Lightning nor W&B.
"""

import configparser
import netrc
import os
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lowrank_bench.errors import ConfigError
from lowrank_bench.names import hint

Mode = Literal["online", "offline", "disabled"]
MODES = ("auto", "online", "offline", "disabled")
# W&B's own: since 0.31 a login is kept under the first, before that under the second
SERVERS = ("https://api.forge.coreweave.com", "https://api.wandb.ai")
UNREACHABLE = "W&B: the server cannot be reached; this run and those after it are written offline"
SYNC = "`wandb sync <run folder>/wandb/offline-run-*` uploads them later"


def has_key() -> bool:
    """Whether W&B would find a key: WANDB_API_KEY, or a netrc entry for its server."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        kept = netrc.netrc(str(_netrc_path()))
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False
    entries = [kept.authenticators(urlsplit(server).netloc) for server in _servers()]
    return any(entry is not None and entry[2] for entry in entries)


def is_disabled() -> bool:
    return _environment_mode() == "disabled"


def resolve(mode: str) -> Mode:
    """How W&B shall run. WANDB_MODE may hold it back, but not turn it on without a key.

    Raises: ConfigError for an unknown mode, or for `online` without a key.
    """
    if mode not in MODES:
        raise ConfigError(f"logger.mode={mode}: unknown{hint(mode, MODES)}")
    held_back = _environment_mode()
    if held_back == "disabled" or mode == "disabled":
        return "disabled"
    if held_back == "offline" or mode == "offline":
        return "offline"
    if has_key():
        return "online"
    if mode == "online":
        raise ConfigError("logger.mode=online: W&B has no key; `wandb login`, or logger.mode=auto")
    return "offline"


def notice(logger_choice: str) -> str | None:
    """The line to print once, before any run starts; None when there is nothing to say."""
    if logger_choice not in ("auto", "wandb"):
        return None
    if is_disabled():
        return "W&B: WANDB_MODE=disabled; metrics stay local" if logger_choice == "wandb" else None
    if not has_key():
        if logger_choice == "auto":
            return "W&B: no key; metrics stay local (`wandb login`, or logger=wandb, turns W&B on)"
        return f"W&B: no key; runs are written offline, {SYNC} (after `wandb login`)"
    if _environment_mode() == "offline":
        return f"W&B: WANDB_MODE=offline; runs are written offline, {SYNC}"
    return None


def _environment_mode() -> str | None:
    mode = os.environ.get("WANDB_MODE", "").lower()
    return {"dryrun": "offline", "run": "online"}.get(mode, mode) or None


def _servers() -> tuple[str, ...]:
    """WANDB_BASE_URL, or what `wandb login --host` left in W&B's settings, or the cloud's."""
    if url := os.environ.get("WANDB_BASE_URL"):
        return (url,)
    folder = Path(os.environ.get("WANDB_CONFIG_DIR") or "~/.config/wandb").expanduser()
    settings = configparser.ConfigParser(interpolation=None)
    try:
        settings.read(folder / "settings", encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return SERVERS
    chosen = settings.get("default", "base_url", fallback=None)
    return SERVERS if chosen is None else (chosen,)


def _netrc_path() -> Path:
    if named := os.environ.get("NETRC"):
        return Path(named).expanduser()
    unix = Path("~/.netrc").expanduser()
    return unix if unix.exists() else Path("~/_netrc").expanduser()
