"""W&B's server as its public client sees it: runs as GraphQL nodes, history as protobuf rows.

The shapes are those that `wandb.apis.public` 0.31 asks for and takes apart; its own classes read
them here.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from wandb.apis.public.runs import Runs
from wandb.proto import wandb_api_pb2

pb: Any = wandb_api_pb2  # what it holds is made when it is imported
HEAVY = ("config", "summaryMetrics", "systemMetrics", "historyKeys")  # not in a list of runs


def node(
    name: str,
    config: Mapping[str, Any],
    summary: Mapping[str, Any],
    *,
    state: str = "finished",
    display: str = "run",
) -> dict[str, Any]:
    """A run as the server describes it: config and summary are JSON texts."""
    wrapped = {key: {"value": value, "desc": None} for key, value in config.items()}
    return {
        "id": f"storage-{name}",
        "projectId": "7",
        "name": name,
        "displayName": display,
        "tags": ["toy"],
        "sweepName": None,
        "state": state,
        "config": json.dumps(wrapped | {"_wandb": {"value": {"cli_version": "0.31.0"}}}),
        "group": "group",
        "jobType": "train",
        "commit": None,
        "readOnly": False,
        "createdAt": "2026-11-22T10:00:00Z",
        "heartbeatAt": "2026-11-22T10:01:00Z",
        "description": "",
        "notes": None,
        "systemMetrics": "{}",
        "summaryMetrics": json.dumps(dict(summary) | {"_runtime": 3, "_step": 2}),
        "historyLineCount": 3,
        "user": {"name": "A", "username": "a"},
        "historyKeys": {"lastStep": 2},
    }


class Service:
    """In the place of `wandb.apis.public.service_api.ServiceApi`."""

    app_url = "https://wandb.test/"
    base_url = "https://api.wandb.test"

    def __init__(
        self, nodes: Sequence[dict[str, Any]] | None, history: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self.nodes = nodes  # None: there is no such project
        self.history = history
        self.asked: list[tuple[str, dict[str, Any]]] = []

    def execute_graphql(
        self, query: str, variables: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, Any]:
        given = dict(variables or {})
        self.asked.append((query, given))
        if "upsertView" in query:
            return {"upsertView": {"view": VIEW | {"displayName": given["displayName"]}}}
        if self.nodes is None:
            return {"project": None}
        if "runs(" not in query and "internalId" in query:
            return {"project": {"internalId": "UHJvamVjdA=="}}
        if "query Runs(" in query:
            return {"project": self._page(given)}
        found = next(each for each in self.nodes if each["name"] == given["name"])
        return {"project": {"run": dict(found)}}

    def _page(self, given: dict[str, Any]) -> dict[str, Any]:
        assert self.nodes is not None
        begin = int(given.get("cursor") or 0)
        end = begin + given["perPage"]
        light = [{k: v for k, v in each.items() if k not in HEAVY} for each in self.nodes]
        edges = [{"node": n, "cursor": str(begin + i + 1)} for i, n in enumerate(light[begin:end])]
        return {
            "internalId": "UHJvamVjdA==",
            "runCount": len(self.nodes),
            "readOnly": False,
            "runs": {
                "edges": edges,
                "pageInfo": {"endCursor": str(end), "hasNextPage": end < len(self.nodes)},
            },
        }

    def send_api_request(self, request: Any, timeout: float | None = None) -> Any:
        asked = request.read_run_history_request
        response = pb.ApiResponse()
        answer = response.read_run_history_response
        if asked.WhichOneof("request") == "scan_run_history_init":
            answer.scan_run_history_init.request_id = 1
        else:
            scan = asked.scan_run_history
            for row in self.history:
                if scan.min_step <= row["_step"] < scan.max_step:
                    added = answer.run_history.history_rows.add()
                    for key, value in row.items():
                        added.history_items.add(key=key, value_json=json.dumps(value))
        return response

    def finalize(self, obj: object, cleanup: Any) -> Callable[[], None]:
        return lambda: None


VIEW = {
    "id": "dmlldw==",
    "name": "nw-abc123-v",
    "displayName": "",
    "description": "",
    "project": {"id": "p", "name": "project", "entityName": "team"},
    "createdAt": "2026-11-22T10:00:00Z",
    "updatedAt": "2026-11-22T10:00:00Z",
    "spec": '{"version": 5, "blocks": []}',
}


class Api:
    """In the place of `wandb.Api`; its runs are of W&B's own classes."""

    def __init__(self, service: Service) -> None:
        self._service_api = service

    def runs(self, path: str) -> Any:
        entity, project = path.split("/")
        service: Any = self._service_api
        return Runs(service, entity, project, per_page=2)

    def projects(self, entity: str) -> list[Any]:
        return [SimpleNamespace(name="project")]
