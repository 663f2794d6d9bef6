"""Which layers an allocator of ranks (AdaLoRA's) gave its budget to: depth across, kind up."""

import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import altair as alt
import polars as pl

from lowrank_bench.record import RunRecord
from lowrank_bench.report.figure import Datasets, Figure, Panel, layered

RECEIPT = "active_rank"
SCHEMA = pl.Schema(
    {"label": pl.String, "method": pl.String, "rank": pl.Int64, "seed": pl.Int64}
    | {"layer": pl.String, "active": pl.Int64}
)
ROW = 26  # pixels a kind
COLOUR = "#0072B2"
ATTENTION = re.compile(r"attn|attention|(^|\.)(q|k|v|o|qkv|query|key|value)(_proj)?($|\.)")
MLP = re.compile(r"mlp|ffn|feed_forward|(^|\.)(fc|up|down|gate|intermediate|output|hidden)")


def allocations(named: Iterable[tuple[RunRecord, str, str]]) -> pl.DataFrame:
    """Of (record, label of its configuration, label of its method): one row a run and layer.

    Empty where no run allocated ranks.
    """
    rows = [
        (label, method, record.name.get("rank"), record.seed, layer, active)
        for record, label, method in named
        if record.status == "finished"
        for layer, active in ((record.receipts.get(RECEIPT) or {}).get("value") or {}).items()
    ]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def allocation(table: pl.DataFrame, name: str = "allocation") -> Figure | None:
    """A panel a configuration, means over seeds; None for an empty table."""
    if table.is_empty():
        return None
    cells = _cells(table)
    data = Datasets()
    labels = cells.sort("method", "rank")["label"].unique(maintain_order=True).to_list()
    most = cells["active"].max()
    return Figure(
        name=name,
        finding=finding(cells),
        caption=(
            f"Final active rank of each layer, mean over {_seeds(table)}; the darker, the more. "
            "Deep: the second half of the depths."
        ),
        panels=[_panel(cells.filter(pl.col("label") == each), each, most, data) for each in labels],
        datasets=data.by_name,
    )


def finding(cells: pl.DataFrame) -> str:
    """Of the configuration with the largest budget: deep against shallow, attention against MLP."""
    totals = cells.group_by("label").agg(pl.col("active").sum()).sort("active", "label")
    label = totals["label"][-1]
    own = cells.filter(pl.col("label") == label)
    told = []
    deep = _per_layer(own.filter("is_deep")), _per_layer(own.filter(~pl.col("is_deep")))
    parts = (
        _per_layer(own.filter(pl.col("part") == "attention")),
        _per_layer(own.filter(pl.col("part") == "mlp")),
    )
    for (a, b), (first, second) in (
        (deep, ("deep layers", "shallow ones")),
        (parts, ("attention", "MLP layers")),
    ):
        if a is not None and b is not None:
            told.append(f"{first} hold rank {a:.1f} on average, {second} {b:.1f}")
    if not told:
        top = own.sort("active", "layer", descending=[True, False]).row(0, named=True)
        told = [f"most of the rank went to {top['layer']} ({top['active']:.1f})"]
    return f"{label}: {'; '.join(told)}".replace("attention hold", "attention holds")


def _per_layer(cells: pl.DataFrame) -> float | None:
    return None if cells.is_empty() else float(cells["active"].sum()) / len(cells)


def _seeds(table: pl.DataFrame) -> str:
    counts = table.group_by("label").agg(pl.col("seed").n_unique())["seed"]
    low, high = counts.min(), counts.max()
    return f"{low} seed{'' if low == 1 else 's'}" if low == high else f"{low} to {high} seeds"


def _cells(table: pl.DataFrame) -> pl.DataFrame:
    """One row a configuration and layer: label, layer, depth, kind, part, is_deep, active."""
    means = table.group_by("label", "method", "rank", "layer", maintain_order=True).agg(
        pl.col("active").mean(),
        pl.col("active").min().alias("low"),
        pl.col("active").max().alias("high"),
    )
    places = {layer: place(layer) for layer in means["layer"]}
    short = _shortened({kind for _, kind in places.values()})
    depths = sorted({depth for depth, _ in places.values() if depth is not None})
    middle = depths[len(depths) // 2] if len(depths) > 1 else None
    rows = []
    for layer, (depth, kind) in places.items():
        is_deep = None if middle is None or depth is None else depth >= middle
        rows.append(
            (layer, "–" if depth is None else str(depth), short[kind], part(layer), is_deep)
        )
    schema = {"layer": pl.String, "depth": pl.String, "kind": pl.String}
    schema |= {"part": pl.String, "is_deep": pl.Boolean}
    told = pl.DataFrame(rows, schema=schema, orient="row")
    return means.join(told.unique("layer", maintain_order=True), on="layer", maintain_order="left")


def place(layer: str) -> tuple[int | None, str]:
    """Depth and kind: 'blocks.3.attn.q' is (3, 'attn.q'), 'hidden.0' is (0, 'hidden')."""
    parts = layer.split(".")
    at = next((i for i, each in enumerate(parts) if each.isdecimal()), None)
    if at is None:
        return None, layer
    return int(parts[at]), ".".join(parts[at + 1 :]) or ".".join(parts[:at])


def part(layer: str) -> str | None:
    """'attention' or 'mlp', where the name tells."""
    depth, kind = place(layer)
    if ATTENTION.search(kind):
        return "attention"
    return "mlp" if depth is not None and MLP.search(kind) else None


def _shortened(kinds: set[str]) -> dict[str, str]:
    """The last part of each name, where no other has the same."""
    last = Counter(kind.rpartition(".")[2] for kind in kinds)
    return {k: k.rpartition(".")[2] if last[k.rpartition(".")[2]] == 1 else k for k in kinds}


def _panel(cells: pl.DataFrame, label: str, most: Any, data: Datasets) -> Panel:
    depths = cells["depth"].unique(maintain_order=True).to_list()
    depths.sort(key=lambda depth: (depth == "–", int(depth) if depth.isdecimal() else 0))
    kinds = cells["kind"].unique(maintain_order=True).to_list()
    values = [
        {
            **{key: row[key] for key in ("label", "method", "rank", "layer", "depth", "kind")},
            "active": round(row["active"], 2),
            "text": f"{row['active']:.3g}",
            "range": f"{row['low']} to {row['high']}",
        }
        for row in cells.to_dicts()
    ]
    bare: dict[str, Any] = {"ticks": False, "domain": False, "grid": False}
    x = alt.X(
        "depth:N",
        title="Depth",
        sort=depths,
        axis=alt.Axis(labelAngle=0, **bare),
        scale=alt.Scale(domain=depths, paddingInner=0.05),
    )
    y = alt.Y(
        "kind:N",
        title=None,
        sort=kinds,
        axis=alt.Axis(labelLimit=160, labelOverlap=False, **bare),
        scale=alt.Scale(domain=kinds, paddingInner=0.08),
    )
    shade = alt.FillOpacity(
        "active:Q", legend=None, scale=alt.Scale(domain=[0, most], range=[0.04, 0.75])
    )
    tooltip = [
        alt.Tooltip("layer:N"),
        alt.Tooltip("text:N", title="active rank"),
        alt.Tooltip("range:N", title="smallest to largest"),
    ]
    base = data.chart(f"ranks {label}", values).encode(x=x, y=y)
    layers = [
        base.mark_rect(color=COLOUR, cornerRadius=2).encode(fillOpacity=shade, tooltip=tooltip),
    ]
    if len(depths) <= 16:
        layers.append(base.mark_text(style="ink", fontSize=10).encode(text="text:N"))
    return layered(label, layers, max(ROW * len(kinds), 48))
