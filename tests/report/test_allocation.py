"""Where an allocator's ranks went, as a heat map."""

from pathlib import Path

import pytest
from synthetic_records import Write

from lowrank_bench.record import RunRecord
from lowrank_bench.report.allocation import allocation, allocations, part, place


@pytest.mark.parametrize(
    ("layer", "depth", "kind", "of"),
    [
        ("blocks.3.attn.q", 3, "attn.q", "attention"),
        ("blocks.0.mlp.up", 0, "mlp.up", "mlp"),
        ("model.layers.11.self_attn.o_proj", 11, "self_attn.o_proj", "attention"),
        ("model.layers.2.mlp.gate_proj", 2, "mlp.gate_proj", "mlp"),
        ("encoder.layer.1.attention.output.dense", 1, "attention.output.dense", "attention"),
        ("encoder.layer.1.output.dense", 1, "output.dense", "mlp"),
        ("hidden.1", 1, "hidden", "mlp"),
        ("head", None, "head", None),
    ],
)
def test_a_layer_has_a_depth_and_a_kind(
    layer: str, depth: int | None, kind: str, of: str | None
) -> None:
    assert place(layer) == (depth, kind)
    assert part(layer) == of


def read(folder: Path) -> tuple[RunRecord, str, str]:
    return RunRecord.read(folder / "record.json"), "adalora r2", "adalora"


def test_the_map_is_the_mean_over_seeds(write_run: Write) -> None:
    runs = []
    for seed, deep in ((0, 5), (1, 7)):
        ranks = {"blocks.0.attn.q": 1, "blocks.0.mlp.up": 2, "blocks.1.attn.q": deep}
        receipts = {"active_rank": {"ok": True, "value": ranks, "note": ""}}
        runs.append(write_run(method="adalora", rank=2, seed=seed, receipts=receipts))
    runs.append(write_run(method="adalora", rank=2, seed=2, status="failed", receipts=receipts))
    figure = allocation(allocations(map(read, runs)))
    assert figure is not None
    cells = {(row["depth"], row["kind"]): row for row in figure.datasets["ranks adalora r2"]}
    assert {key: row["active"] for key, row in cells.items()} == {
        ("0", "q"): 1,
        ("0", "up"): 2,
        ("1", "q"): 6,
    }
    assert cells["1", "q"]["range"] == "5 to 7"
    assert "mean over 2 seeds" in figure.caption
    assert "deep layers hold rank 6.0 on average, shallow ones 1.5" in figure.finding
    assert "attention holds rank 3.5 on average, MLP layers 2.0" in figure.finding


def test_without_an_allocator_there_is_no_map(write_run: Write) -> None:
    assert allocation(allocations([read(write_run())])) is None
