"""A receipt: one check, made in a run, that the method really acted."""

from typing import Any

Receipt = dict[str, Any]


def receipt(ok: bool | None, value: Any, note: str = "") -> Receipt:
    """`ok` is None where the receipt only informs; `note` says what is wrong, or the unit."""
    return {"ok": ok, "value": value, "note": note}
