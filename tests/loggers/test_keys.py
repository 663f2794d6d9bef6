import subprocess
import sys
from pathlib import Path

import pytest

from lowrank_bench.errors import ConfigError
from lowrank_bench.loggers.keys import has_key, notice, resolve


def write_netrc(path: Path, machine: str) -> None:
    path.write_text(f"machine {machine}\n  login user\n  password secret\n")


def test_without_anything_there_is_no_key() -> None:
    assert not has_key()


def test_the_environment_may_hold_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert not has_key()
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert has_key()


@pytest.mark.parametrize("name", [".netrc", "_netrc"])
def test_a_netrc_file_may_hold_the_key(bare_environment: Path, name: str) -> None:
    write_netrc(bare_environment / name, "github.com")
    assert not has_key()
    for server in ("api.wandb.ai", "api.forge.coreweave.com"):  # of older and newer W&B
        write_netrc(bare_environment / name, server)
        assert has_key()


def test_netrc_names_another_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_netrc(tmp_path / "elsewhere", "api.wandb.ai")
    monkeypatch.setenv("NETRC", str(tmp_path / "elsewhere"))
    assert has_key()


def test_the_key_must_be_for_the_server_in_use(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_netrc(bare_environment / ".netrc", "wandb.lab:8080")
    assert not has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "http://wandb.lab:8080")
    assert has_key()


def test_a_login_to_another_host_is_found(bare_environment: Path) -> None:
    write_netrc(bare_environment / ".netrc", "wandb.lab")
    settings = bare_environment / ".config" / "wandb" / "settings"
    settings.parent.mkdir(parents=True)
    settings.write_text("[default]\nbase_url = https://wandb.lab\n")
    assert has_key()


def test_a_broken_netrc_holds_no_key(bare_environment: Path) -> None:
    (bare_environment / ".netrc").write_text("nonsense {\n")
    assert not has_key()


def test_auto_is_online_with_a_key_and_offline_without(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resolve("auto") == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert resolve("auto") == resolve("online") == "online"
    assert resolve("offline") == "offline"


@pytest.mark.parametrize("mode", ["offline", "dryrun", "disabled"])
def test_the_environment_holds_wandb_back(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("WANDB_MODE", mode)
    assert resolve("online") == ("disabled" if mode == "disabled" else "offline")


def test_wrong_modes_are_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'offline'"):
        resolve("ofline")
    with pytest.raises(ConfigError, match="has no key"):
        resolve("online")


def test_without_a_key_the_notice_says_how_to_turn_wandb_on_or_sync() -> None:
    auto, wandb = notice("auto"), notice("wandb")
    assert auto
    assert "wandb login" in auto
    assert "logger=wandb" in auto
    assert "\n" not in auto
    assert wandb
    assert "offline" in wandb
    assert "wandb sync" in wandb
    assert "\n" not in wandb


def test_with_a_key_or_other_loggers_there_is_no_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(notice(choice) is None for choice in ("local", "tensorboard", "trackio"))
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    assert notice("auto") is None
    assert notice("wandb") is None


def test_the_notice_respects_wandb_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "secret")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "wandb sync" in (notice("auto") or "")
    monkeypatch.setenv("WANDB_MODE", "disabled")
    assert notice("auto") is None
    assert "disabled" in (notice("wandb") or "")


def test_asking_for_a_key_loads_nothing_heavy() -> None:
    code = (
        "import sys, lowrank_bench.loggers.keys, lowrank_bench.loggers.rows\n"
        "assert not {'torch', 'lightning', 'wandb', 'polars'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
