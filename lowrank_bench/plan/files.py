"""Plans as files: a page, a picture, tables."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from lowrank_bench import __version__
from lowrank_bench.errors import ConfigError
from lowrank_bench.plan.ask import Answer, Question
from lowrank_bench.plan.chart import memory, name
from lowrank_bench.plan.units import magnitude, with_unit
from lowrank_bench.report.images import png, svg

HERE = Path(__file__).parent
STYLE = HERE.parent / "report" / "page.css"


def write(answers: Sequence[Answer], question: Question, out: Path) -> Path:
    """Write `index.html`, `memory.svg`, `memory.png`, `plan.csv` and `plan.json`; return the first.

    All is made in memory before a file is written.
    Raises: ConfigError when `out` cannot be written.
    """
    figure = memory(answers, question)
    picture = svg(figure)
    rows = [row(answer) for answer in answers]
    table = io.StringIO()
    writer = csv.DictWriter(table, rows[0])
    writer.writeheader()
    writer.writerows(rows)
    full = [answer.numbers | {"device": asdict(answer.device)} for answer in answers]
    page = _page(answers, picture, figure.finding)
    files = {
        "index.html": page.encode(),
        "memory.svg": picture.encode(),
        "memory.png": png(picture),
        "plan.csv": table.getvalue().encode(),
        "plan.json": (json.dumps(full, indent=1) + "\n").encode(),
    }
    try:
        out.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            (out / file).write_bytes(content)
    except OSError as error:
        raise ConfigError(f"--out={out}: cannot be written ({error.strerror})") from None
    return out / "index.html"


def row(answer: Answer) -> dict[str, Any]:
    """One flat row, bytes in bytes; of one device."""
    numbers, device = answer.numbers, answer.device
    own = numbers["name"]
    return {
        **{key: own[key] for key in ("model", "method", "rank", "data")},
        "precision": numbers["precision"],
        "devices": numbers["devices"],
        "micro_batch": numbers["micro_batch"],
        "fits": answer.fits,
        "parameters": numbers["params"]["total"],
        "trainable": numbers["params"]["trainable"],
        "weight_bytes": device.weights,
        "gradient_bytes": device.gradients,
        "optimizer_state_bytes": device.optimizer_state,
        "projector_bytes": numbers["projector_bytes"],
        "in_transit_bytes": device.in_transit,
        "activation_bytes": device.activations,
        "peak_memory_bytes": device.peak,
        "adapter_bytes": numbers["adapter_bytes"],
        "merged_bytes": numbers["merged_bytes"],
        "flops_per_update": numbers["flops"]["per_update"],
        "tokens_per_update": numbers["tokens_per_update"],
        "break_even_rank": numbers["break_even_rank"],
        "layers": numbers["layers"]["targets"],
        "layers_without_saving": numbers["layers"]["no_saving"],
    }


def _page(answers: Sequence[Answer], picture: str, finding: str) -> str:
    templates = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {"size": with_unit, "count": magnitude}
    return templates.get_template("page.html.jinja").render(
        rows=[row(answer) | {"name": name(answer, answers)} for answer in answers],
        has_room=answers[0].fits is not None,
        picture=Markup(picture),
        finding=finding,
        style=Markup(STYLE.read_text(encoding="utf-8")),
        package=__version__,
    )
