"""docs/published-costs.md: which published numbers hold, and how one has to count for that."""

from collections.abc import Mapping
from pathlib import Path

from jinja2 import StrictUndefined, Template

from .claims import FORMULA, PRINTED, Claim
from .measured import Measured
from .rows import FAILS, Row, last_digit, reads

FILE = Path(__file__).parents[2] / "docs" / "published-costs.md"
TEXT = Path(__file__).with_name("published-costs.md.jinja")
SHORT = {
    "memory_weights": "weights",
    "memory_optimizer": "optimizer",
    "memory_weights_plus_optimizer": "weights + optimizer",
    "memory_weights_gradients_optimizer": "weights + gradients + optimizer",
    "memory_states_no_activations": "weights + gradients + optimizer",
    "memory_states_per_gpu": "the same, for each of 8 GPUs",
    "parameters_total": "parameters",
    "parameters": "parameters",
    "adapter_parameters": "adapters",
    "trainable_parameters": "trainable",
    "trainable_parameters_after_pruning": "trainable after pruning",
    "parameters_after_pruning": "trainable after pruning",
    "total_triplets": "triplets",
    "trainable_fraction": "trainable share",
    "optimizer_state_elements": "optimizer state",
    "training_tokens": "tokens",
    "checkpoint_size": "checkpoint",
    "fraction_saved": "share saved",
    "init_std_of_product_over_dense_default": "initial spread of BA over nn.Linear's",
}


def page(
    rows: Mapping[str, Row], claims: Mapping[str, Claim], found: Mapping[str, Measured]
) -> str:
    """The text of the page; every number in it is of `rows` or `found`."""
    asides = {
        key.removeprefix("aside."): each.found
        for key, each in found.items()
        if key.startswith("aside.")
    }
    failed = sum(row.status == FAILS for row in rows.values())
    derived = sum(row.status == "derived" for row in rows.values())
    counts = {
        "rows": len(rows),
        "failed": failed,
        "derived": derived,
        "held": len(rows) - failed - derived,
        "only": sum(verdict(r, claims[r.id], found[r.id]) == ONLY for r in rows.values()),
        "formula": sum(claim.kind == FORMULA for claim in claims.values()),
        "printed": sum(claim.kind == PRINTED for claim in claims.values()),
    }
    left = dict(rows)

    def table(*prefixes: str) -> str:
        own = [left.pop(name) for name in list(left) if name.startswith(prefixes)]
        return _table(own, claims, found)

    template = Template(TEXT.read_text(encoding="utf-8"), undefined=StrictUndefined)
    text = template.render(count=counts, aside=asides, table=table)
    assert not left, f"rows in no table: {list(left)}"
    return f"{text}\n"


ONLY = "only so"
COUNTED_IN_HUNDREDTHS = ("rounds_to_published", "truncates_to_published")


def verdict(row: Row, claim: Claim, measured: Measured) -> str:
    """In a word or a few, how the printed number stands."""
    if row.status == FAILS:
        return "**does not hold**"
    if row.status == "derived":
        return "not printed"
    if claim.kind == PRINTED:
        return "from printed numbers"
    if measured.like_bytes is not None and not _holds_plainly(row, measured.like_bytes):
        return ONLY
    if row.status == "within_tolerance" and row.tolerance and row.tolerance > 1e-6:
        return f"within {row.tolerance:g}"
    words = {"exact": "holds exactly", "truncates_to_published": "holds, cut off"}
    return words.get(row.status, "holds")


def _holds_plainly(row: Row, like_bytes: int) -> bool:
    """Whether exact bytes, in the decimal or the binary unit, read as printed."""
    units = (1e6, 2**20) if row.unit.startswith("M") else (1e9, 2**30)
    if row.status == "within_tolerance":
        return any(abs(like_bytes / unit - row.value) <= (row.tolerance or 0) for unit in units)
    return any(reads(like_bytes / unit, row.value, _printed_unit(row)) for unit in units)


def _printed_unit(row: Row) -> float:
    """Of the last printed digit: 0.01 where a table's 2.60 is 2.6 here."""
    in_g = row.unit.startswith("G") and not row.unit.startswith("GB")
    if in_g and isinstance(row.value, float) and row.status in COUNTED_IN_HUNDREDTHS:
        return 0.01
    return last_digit(row.value)


def _table(rows: list[Row], claims: Mapping[str, Claim], found: Mapping[str, Measured]) -> str:
    """The rows of a publication, and how its numbers are counted."""
    letters: dict[str, str] = {}
    in_bytes = any(found[row.id].like_bytes is not None for row in rows)
    head = ["what", "printed", "found", "counted as", "verdict"]
    if in_bytes:
        head[4:4] = ["the same, exactly", "with gradients"]
    lines = ["| " + " | ".join(head) + " |", "| --- " * len(head) + "|"]
    for row in rows:
        claim, measured = claims[row.id], found[row.id]
        letter = letters.setdefault(_counted(claim), chr(ord("a") + len(letters)))
        cells = [
            _what(row),
            "–" if row.status == "derived" else f"{_value(row)} {_unit(row)}".strip(),
            _digits(measured.found, row),
            letter,
            verdict(row, claim, measured),
        ]
        if in_bytes:
            cells[4:4] = [_bytes(measured.like_bytes), _bytes(measured.all_bytes)]
        lines.append("| " + " | ".join(cells) + " |")
    legend = "\n".join(f"- {letter}: {text}" for text, letter in letters.items())
    return "\n".join([*lines, "", legend])


def _counted(claim: Claim) -> str:
    return f"formula: {claim.convention}" if claim.kind == FORMULA else claim.convention


def _what(row: Row) -> str:
    """Model, method, rank, what is counted."""
    said = [row.model or "", row.method.replace("_", " ")]
    if row.rank is not None:
        said.append(f"r {row.rank}")
    if row.targets and row.id.startswith(("lora.t15", "adalora.t2", "lora.readme")):
        said.append(row.targets)
    place = next((p for p in row.id.split(".") if p[0] in "ts" and p[1:].isdigit()), "")
    table = {"": "", "s42": " (§4.2)"}.get(place, f" (Table {place.removeprefix('t').upper()})")
    return f"{', '.join(filter(None, said))}: {SHORT[row.quantity]}{table}"


def _value(row: Row) -> str:
    if row.unit == "1":
        return "2/3"
    if _printed_unit(row) == 0.01:
        return f"{row.value:.2f}"
    return f"{row.value:,}"


def _unit(row: Row) -> str:
    """Without what the column already says."""
    short = {"1e6 params": "M", "params": "", "1": "", "x": "×", "elements": "", "triplets": ""}
    short |= {"1e9 tokens": "B", "% of 183.8M": "%", "% of 406.3M": "%"}
    short |= {"% of (base+trainable)": "%", "G (1.024e9 B)": "G", "M (1e6 B)": "MB"}
    short |= {"GB (1e9 B)": "GB"}
    return short.get(row.unit, row.unit)


def _digits(found: float, row: Row) -> str:
    """Two digits more than are printed."""
    if isinstance(found, int):
        return f"{found:,}"
    unit = _printed_unit(row)
    digits = 0 if unit >= 1 else len(f"{unit:.10f}".rstrip("0")) - 2
    return f"{found:,.{min(digits + 2, 4)}f}"


def _bytes(count: int | None) -> str:
    if count is None:
        return "–"
    if count < 1e9:
        return f"{count / 1e6:,.1f} MB ({count / 2**20:,.1f} MiB)"
    return f"{count / 1e9:,.3f} GB ({count / 2**30:,.3f} GiB)"
