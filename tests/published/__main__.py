"""Counts published numbers again and writes docs/published-costs.md: `make published-costs`."""

from .asides import asides
from .measured import FILE as FOUND
from .measured import Measured, measure, record
from .page import FILE, page
from .rows import rows
from .sources import claims


def main() -> None:
    read, made = rows(), claims()
    found = [measure(row, made[name]) for name, row in read.items()]
    found += [Measured(name, claim.found()) for name, claim in asides().items()]
    FOUND.write_text(record(found), encoding="utf-8")
    FILE.write_text(page(read, made, {each.id: each for each in found}), encoding="utf-8")


if __name__ == "__main__":
    main()
