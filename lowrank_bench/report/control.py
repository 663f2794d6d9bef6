"""What the compared runs have in common, and how one control differs from another."""

from typing import Any

from lowrank_bench.record import RunRecord

NODES = ("data", "model", "base", "budget", "precision")
MISSING = "–"


def control_of(record: RunRecord) -> dict[str, str]:
    """The control's settings under dotted names, as text."""
    flat: dict[str, str] = {}
    for node in NODES:
        if node in record.config:
            _flatten(node, record.config[node], flat)
    return flat


def _flatten(name: str, value: Any, into: dict[str, str]) -> None:
    if isinstance(value, dict) and value:
        for key, item in value.items():
            _flatten(f"{name}.{key}", item, into)
    else:
        into[name] = "null" if value is None else str(value)


def differences(controls: list[dict[str, str]]) -> list[str]:
    """The names of the settings that are not the same in all controls."""
    names = dict.fromkeys(name for control in controls for name in control)
    return [name for name in names if len({control.get(name) for control in controls}) > 1]


def heading(record: RunRecord, control: dict[str, str], differing: list[str]) -> str:
    """What a section is about: its data, model and base, then what sets it apart."""
    named = [record.name.get(key) for key in ("data", "model", "base")]
    title = " · ".join(str(part) for part in named if part) or "Runs"
    told = [f"{name} = {control.get(name, MISSING)}" for name in differing[:4]]
    if len(differing) > 4:
        told.append(f"{len(differing) - 4} more")
    return f"{title}: {', '.join(told)}" if told else title
