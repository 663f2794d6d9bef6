"""Plans on the terminal: one in full, several as a table."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from lowrank_bench.errors import ConfigError
from lowrank_bench.plan.ask import Answer, Question
from lowrank_bench.plan.units import magnitude, told, unit_for, with_unit

UNKNOWN = "–"


def show(
    answers: Sequence[Answer], question: Question, console: Console, *, layers: bool = False
) -> None:
    """Print the answers.

    Raises: ConfigError when not even one of them fits into the room that was named, or, of a
    single one, when its own batch does not.
    """
    if question.room is not None:
        check_room(answers, question)
    if len(answers) == 1:
        _one(answers[0], question, console)
    else:
        _table(answers, question, console)
    for answer in answers:
        if layers:
            _layers(answer, console)
        if answer.activations is not None:
            _activations(answer, console)


def check_room(answers: Sequence[Answer], question: Question) -> None:
    room = with_unit(question.room or 0)
    if not any(answer.fits for answer in answers):
        least = min(answers, key=lambda answer: answer.device.peak)
        raise ConfigError(
            f"--fits={room}: a single example of {label(least)} needs "
            f"{with_unit(least.device.peak)}; name more room, a smaller model, "
            "precision=bf16-true or run.checkpoint_activations=true"
        )
    if len(answers) > 1:
        return
    (answer,) = answers
    largest, numbers = answer.numbers["micro_batch"], answer.numbers
    if largest < answer.own_micro_batch:
        batch = answer.own_micro_batch * numbers["devices"] * numbers["micro_batches"]
        parts = -(-batch // (largest * numbers["devices"]))
        raise ConfigError(
            f"budget.batch_size={batch}: {answer.own_micro_batch} examples at once do not fit into "
            f"{room}; {largest} do, so say run.accumulate={parts}"
        )


def label(answer: Answer) -> str:
    name = answer.numbers["name"]
    rank = f" rank={name['rank']}" if name["rank"] is not None else ""
    return f"model={name['model']} method={name['method']}{rank}"


def _one(answer: Answer, question: Question, console: Console) -> None:
    numbers, device = answer.numbers, answer.device
    params, flops, name = numbers["params"], numbers["flops"], numbers["name"]
    console.print(Text(f"{label(answer)}  data={name['data']}", style="bold"))
    console.print(Text(_setting(answer, question), style="dim"))
    table = plain_table("", "", "")
    table.add_row("parameters", f"{params['total']:,}", _against(params["total"], params["dense"]))
    roles = ", ".join(f"{role} {count:,}" for role, count in params["by_role"].items())
    table.add_row("  that train", f"{params['trainable']:,}", roles)
    table.add_section()
    rows: list[tuple[str, int | None, str]] = [
        ("weights", device.weights, ""),
        ("buffers", numbers["buffer_bytes"], ""),
        ("gradients", device.gradients, "as an update leaves them"),
        ("optimizer state", device.optimizer_state, _states(numbers)),
        ("in transit", device.in_transit, "between devices"),
        ("activations", device.activations, "kept for the backward pass"),
        ("peak", device.peak, "of all that lives, over an update of each kind"),
        ("adapter on disk", numbers["adapter_bytes"], ""),
        ("merged model on disk", numbers["merged_bytes"], ""),
    ]
    for what, size, note in rows:
        if size or what not in ("buffers", "in transit"):
            table.add_row(what, with_unit(size) if size is not None else "none", note)
    table.add_section()
    per_update = flops["per_update"]
    table.add_row("FLOP an update", magnitude(per_update), "products and decompositions")
    table.add_row("  forward", magnitude(flops["forward"]), "of a micro-batch")
    table.add_row("  backward", magnitude(flops["backward"]), "of a micro-batch")
    table.add_row("  optimizer", magnitude(flops["step"]), "")
    for what, (once, period) in flops["rare"].items():
        share = once / period / per_update
        table.add_row(f"  {what}", magnitude(once), f"every {period} updates; {share:.1%} of all")
    table.add_section()
    if (rank := numbers["break_even_rank"]) is not None:
        table.add_row("break-even rank", f"{rank:,.1f}", _saving(answer))
    console.print(table)


def _table(answers: Sequence[Answer], question: Question, console: Console) -> None:
    first = answers[0]
    unit = unit_for(max(answer.device.peak for answer in answers))
    headings = ["parameters", "train", "weights", "gradients", "optimizer", "activations", "peak"]
    headings += ["adapter", "merged", "FLOP", "break-even"]
    if question.room is not None:
        headings.append("batch that fits")
    several = len({answer.numbers["name"]["model"] for answer in answers}) > 1
    table = plain_table(*(["model"] if several else []), "method", "rank", *headings)
    for answer in answers:
        numbers, device = answer.numbers, answer.device
        name = numbers["name"]
        sizes = (
            *(device.weights, device.gradients, device.optimizer_state, device.activations),
            *(device.peak, numbers["adapter_bytes"], numbers["merged_bytes"]),
        )
        rank = numbers["break_even_rank"]
        cells = [
            *([name["model"]] if several else []),
            name["method"],
            UNKNOWN if name["rank"] is None else str(name["rank"]),
            magnitude(numbers["params"]["total"]),
            magnitude(numbers["params"]["trainable"]),
            *(told(size, unit) for size in sizes),
            magnitude(numbers["flops"]["per_update"]),
            UNKNOWN if rank is None else f"{rank:,.0f}",
        ]
        if question.room is not None:
            cells.append(str(numbers["micro_batch"]) if answer.fits else "none")
        table.add_row(*cells)
    name = first.numbers["name"]
    console.print(Text(f"model={name['model']} data={name['data']}", style="bold"))
    console.print(Text(_setting(first, question, several=True), style="dim"))
    console.print(table)
    console.print(
        Text(
            f"Sizes in {unit}. FLOP: products and decompositions of an update, averaged. "
            "break-even: the rank from which the factors of a target layer are no smaller than "
            "its weight (the first of them; --layers shows each).",
            style="dim",
        )
    )


def _layers(answer: Answer, console: Console) -> None:
    console.print()
    console.print(Text(f"{label(answer)}: target layers", style="bold"))
    table = plain_table("layer", "shape", "weight", "trains", "kept", "break-even", "of GaLore's")
    for layer in answer.layers:
        table.add_row(
            layer.name,
            f"{layer.m} × {layer.n}",
            f"{layer.m * layer.n:,}",
            Text(f"{layer.trains:,}", style="" if layer.saves else "red"),
            with_unit(layer.kept.bytes),
            f"{layer.break_even:,.1f}",
            f"{layer.break_even_state:,.1f}",
        )
    console.print(table)
    console.print(
        Text(
            "kept: weights, gradients and optimizer state. break-even: mn/(m+n), where two factors "
            "are as large as the weight; of GaLore's: 2mn/(m+2n), where its state is as large as "
            "Adam's.",
            style="dim",
        )
    )


def _setting(answer: Answer, question: Question, *, several: bool = False) -> str:
    numbers = answer.numbers
    own = numbers["micro_batch"] if question.room is None or not several else None
    parts = [f"precision={numbers['precision']}"]
    if own is not None:
        parts.append(f"micro-batch {own}")
    if numbers["micro_batches"] > 1:
        parts.append(f"{numbers['micro_batches']} of them an update")
    if (tokens := numbers["tokens_per_update"]) is not None and own is not None:
        parts.append(f"{tokens:,} tokens an update")
    if numbers["devices"] > 1:
        parts.append(f"each of {numbers['devices']} devices, {question.strategy}")
    if question.room is not None:
        parts.append(f"the largest micro-batch in {with_unit(question.room)}")
    return ", ".join(parts)


def _states(numbers: dict[str, Any]) -> str:
    total = numbers["optimizer_state_bytes"] or 1
    large = {key: size for key, size in numbers["state"].items() if size["bytes"] > 0.005 * total}
    return ", ".join(f"{key} {with_unit(size['bytes'])}" for key, size in large.items())


def _activations(answer: Answer, console: Console) -> None:
    """One table of lengths and micro-batches, kept whole and checkpointed."""
    console.print()
    console.print(Text(f"{label(answer)}: activations", style="bold"))
    found = answer.activations or []
    batches = list(dict.fromkeys(row.micro_batch for row in found))
    table = plain_table("length", "", *(f"× {batch}" for batch in batches))
    for length in dict.fromkeys(row.length for row in found):
        for checkpointed, how in ((False, "kept whole"), (True, "checkpointed")):
            sizes = {
                row.micro_batch: row.bytes
                for row in found
                if (row.length, row.checkpointed) == (length, checkpointed)
            }
            if sizes:
                cells = (with_unit(sizes[batch]) for batch in batches)
                table.add_row(str(length or "–"), how, *cells)
    console.print(table)
    console.print(
        Text(
            "Columns are micro-batches. Checkpointed: run.checkpoint_activations=true.", style="dim"
        )
    )


def _against(total: int, dense: int) -> str:
    if total > dense:
        return f"{total - dense:,} more than without the method"
    return f"{total / dense:.3g} of the {dense:,} without the method" if total < dense else ""


def _saving(answer: Answer) -> str:
    layers = answer.layers
    if all(layer.is_whole for layer in layers):
        return f"of two factors, in the first of {len(layers)} target layers; here all are whole"
    if none := sum(not layer.saves for layer in layers):
        return f"{none} of {len(layers)} target layers are beyond theirs, and save nothing"
    return f"in the first of {len(layers)} target layers; all of them save"


def plain_table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for i, heading in enumerate(headings):
        is_text = heading in ("model", "method", "layer") or (not heading and i != 1)
        table.add_column(heading, justify="left" if is_text else "right", overflow="fold")
    table.show_header = any(headings)
    return table
