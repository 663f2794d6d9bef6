"""A run in progress, a bare environment, and as much of a W&B server as one run believes in."""

import json
import os
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from lowrank_bench.record import RunRecord

FAKE_KEY = "0123456789abcdef0123456789abcdef01234567"

PROJECT = {"id": "p", "name": "p", "entity": {"id": "e", "name": "e"}}


def answer(operation: str | None, variables: dict[str, Any]) -> dict[str, Any]:
    if operation == "RunResumeStatus":
        return {"model": {**PROJECT, "bucket": None}}
    if operation == "UpsertBucket":
        bucket = {
            "id": "b",
            "name": variables["name"],
            "displayName": variables["displayName"],
            "config": variables["config"],
            "project": PROJECT,
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if operation == "CreateRunFiles":
        return {"createRunFiles": {"runID": "b", "uploadHeaders": [], "files": []}}
    return {}


class Server(ThreadingHTTPServer):
    """Keeps what it was asked: the operation and its variables."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str | None, dict[str, Any]]] = []


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        content: dict[str, Any] = {}
        if self.path.endswith("/graphql"):
            asked = json.loads(body)
            self.server.asked.append((asked.get("operationName"), asked.get("variables") or {}))
            content = {"data": answer(asked.get("operationName"), asked.get("variables") or {})}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    do_GET = do_PUT = do_POST  # noqa: N815 (http.server looks them up by name)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    for name in os.environ:
        if name.startswith(("WANDB_", "TRACKIO_")):
            monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("NETRC", raising=False)
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "false")
    yield home
    if wandb := sys.modules.get("wandb"):
        wandb.teardown()  # W&B reads its environment once per service


@pytest.fixture
def record() -> RunRecord:
    return RunRecord(
        status="failed",  # until it is known better
        fingerprint="f00dfeedf00dfeed",
        control_hash="c0ffee0011223344",
        method_hash="badcab1e55667788",
        seed=3,
        name={
            "method": "lora",
            "data": "toy",
            "model": "mlp",
            "base": "random",
            "rank": 8,
            "lr": 1e-3,
        },
        config={"method": {"adapter": {"alpha": 16}}, "epochs": 2, "rank": 8},
        overrides=["rank=8"],
    )


@pytest.fixture
def fake_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", FAKE_KEY)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """Answers until `shutdown()` and `server_close()`; then it refuses connections."""
    server = Server()
    monkeypatch.setenv("WANDB_BASE_URL", f"http://127.0.0.1:{server.server_address[1]}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()
