"""What the peak of each plan is made of, as one picture."""

from collections.abc import Sequence

import altair as alt

from lowrank_bench.plan.ask import Answer, Question
from lowrank_bench.plan.units import UNITS, unit_for, with_unit
from lowrank_bench.report.figure import Datasets, Figure, Key, Values, layered
from lowrank_bench.report.palette import METHODS, RED

PARTS = ("weights", "optimizer state", "gradients", "between devices", "activations and the rest")
BAR, SPACE = 22, 60  # pixels: a bar, and what stands around all of them


def memory(answers: Sequence[Answer], question: Question) -> Figure:
    """One bar a plan, as long as its peak, in parts; a line where the room ends."""
    unit = unit_for(max(answer.device.peak for answer in answers))
    size = UNITS[unit]
    names = [name(answer, answers) for answer in answers]
    rows: Values = [
        {"plan": plan, "part": part, "order": order, "size": held / size, "told": with_unit(held)}
        for plan, answer in zip(names, answers, strict=True)
        for order, (part, held) in enumerate(parts(answer).items())
    ]
    used = [part for part in PARTS if any(row["part"] == part and row["size"] for row in rows)]
    colours: dict[str, str] = dict(zip(PARTS, METHODS, strict=False))
    data = Datasets()
    bars = (
        data.chart("memory", rows)
        .mark_bar()
        .encode(
            x=alt.X("size:Q", title=f"peak on one device, {unit}", stack="zero"),
            y=alt.Y("plan:N", title=None, sort=names, axis=alt.Axis(labelLimit=360)),
            color=alt.Color(
                "part:N",
                title=None,
                scale=alt.Scale(domain=used, range=[colours[part] for part in used]),
            ),
            order=alt.Order("order:Q"),
            tooltip=["plan:N", "part:N", "told:N"],
        )
    )
    layers = [bars]
    if question.room is not None:
        rule = data.chart("room", [{"room": question.room / size}])
        layers.append(rule.mark_rule(color=RED, strokeDash=[4, 3], size=2).encode(x="room:Q"))
    return Figure(
        name="memory",
        finding=_finding(answers, names),
        caption=_caption(answers, question),
        panels=[layered("", layers, BAR * len(answers) + SPACE)],
        datasets=data.by_name,
        legend=[Key(part, colours[part]) for part in used],
    )


def parts(answer: Answer) -> dict[str, int]:
    """Bytes at the peak; activations and temporaries are what the rest leaves of it."""
    device = answer.device
    fixed = device.weights + device.optimizer_state + device.gradients + device.in_transit
    held = (device.weights, device.optimizer_state, device.gradients, device.in_transit)
    return dict(zip(PARTS, (*held, max(0, device.peak - fixed)), strict=True))


def name(answer: Answer, answers: Sequence[Answer]) -> str:
    """The method and rank, and the model or the batch where they differ."""
    own = answer.numbers["name"]
    words = [own["method"]]
    if own["rank"] is not None:
        words.append(f"r{own['rank']}")
    if len({each.numbers["name"]["model"] for each in answers}) > 1:
        words.insert(0, own["model"])
    if len({each.numbers["micro_batch"] for each in answers}) > 1:
        words.append(f"× {answer.numbers['micro_batch']}")
    return " ".join(map(str, words))


def _finding(answers: Sequence[Answer], names: Sequence[str]) -> str:
    peaks = [answer.device.peak for answer in answers]
    if len(answers) == 1:
        return f"{names[0]} needs {with_unit(peaks[0])}"
    least, most = min(peaks), max(peaks)
    low, high = names[peaks.index(least)], names[peaks.index(most)]
    return (
        f"{low} needs {with_unit(least)}, {high} {with_unit(most)}: {most / least:.3g} times that"
    )


def _caption(answers: Sequence[Answer], question: Question) -> str:
    numbers = answers[0].numbers
    models = ", ".join(dict.fromkeys(str(a.numbers["name"]["model"]) for a in answers))
    words = [models, f"precision={numbers['precision']}"]
    batches = {answer.numbers["micro_batch"] for answer in answers}
    if len(batches) == 1:
        words.append(f"micro-batch {batches.pop()}")
    if numbers["devices"] > 1:
        words.append(f"{numbers['devices']} devices, {question.strategy}")
    if question.room is not None:
        words.append(f"each with the largest micro-batch in {with_unit(question.room)}")
    return "Planned on shapes alone: " + ", ".join(words) + "."
