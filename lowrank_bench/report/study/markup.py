"""A page's table as Markdown and as LaTeX, with nothing in it that either would act upon."""

import re

from lowrank_bench.report.study_part import PageTable

# https://spec.commonmark.org/0.31.2/#backslash-escapes, those that act inside a cell
MARKDOWN = re.compile(r"([\\`*_\[\]<>|#~&$])")
LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "^": r"\textasciicircum{}",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "%": r"\%",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "–": "--",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "Δ": r"$\Delta$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "…": r"\dots{}",
}


def markdown(table: PageTable) -> str:
    """As GitHub reads it: a heading, the table, the caption."""
    columns = table.columns
    lines = [
        f"### {_md(table.title)}",
        "",
        _row(_md(c.title) for c in columns),
        _row("---:" if c.numeric else ":---" for c in columns),
        *(_row(_md(table.cell(row, c).text) for c in columns) for row in table.rows),
    ]
    caption = ["", _md(table.caption)] if table.caption else []
    return "\n".join([*lines, *caption, ""])


def latex(table: PageTable) -> str:
    r"""A `table` with booktabs; \usepackage{booktabs} is all it needs."""
    columns = table.columns
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_tex(table.title)}. {_tex(table.caption)}}}",
        rf"\begin{{tabular}}{{{''.join('r' if c.numeric else 'l' for c in columns)}}}",
        r"\toprule",
        " & ".join(_tex(c.title) for c in columns) + r" \\",
        r"\midrule",
        *(
            " & ".join(_tex(table.cell(row, c).text) for c in columns) + r" \\"
            for row in table.rows
        ),
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join([*lines, ""])


def _row(cells: object) -> str:
    return f"| {' | '.join(cells)} |"  # type: ignore[arg-type]


def _md(text: str) -> str:
    return MARKDOWN.sub(r"\\\1", _line(text))


def _tex(text: str) -> str:
    escaped = "".join(LATEX.get(letter, letter) for letter in _line(text))
    # a line of a tabular that begins with a bracket is the length of the one before
    return f"{{}}{escaped}" if escaped.startswith("[") else escaped


def _line(text: str) -> str:
    return " ".join(text.split())
