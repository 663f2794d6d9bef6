"""Names beside marks, as many as fit without lying over each other or over a mark."""

from collections.abc import Iterable
from dataclasses import dataclass

LETTER, LINE = 6.6, 13.0  # pixels of a letter and of a line, at the size 11
MARK = 6.0  # half a mark's width
Box = tuple[float, float, float, float]  # left, top, right, bottom


@dataclass(frozen=True)
class Spot:
    """A text and the mark that it belongs to, in pixels from the top left."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class Place:
    """A text's offset from its mark; it is centred on the line `dy` below it."""

    text: str
    align: str
    dx: int
    dy: int


PLACES = (
    *(("left", 10, 0), ("right", -10, 0), ("center", 0, -14), ("center", 0, 14)),
    *(("left", 9, -11), ("left", 9, 11), ("right", -9, -11), ("right", -9, 11)),
)


def placed(
    spots: Iterable[Spot],
    marks: Iterable[tuple[float, float]],
    width: float,
    height: float,
    *,
    taken: Iterable[Box] = (),
    thin: Iterable[Box] = (),
) -> list[Place]:
    """The first free place of each spot, earlier ones first; none for a spot without one.

    No name lies over a mark, over another or over what is `taken`; over `thin` lines only where
    there is no better place.
    """
    solid: list[Box] = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in marks]
    solid += taken
    lines = [*thin]
    found = []
    for spot in spots:
        boxes = {
            Place(spot.text, *place): box
            for place in PLACES
            if _inside(box := _box(spot, *place), width, height) and _is_free(box, solid)
        }
        chosen = next((p for p, box in boxes.items() if _is_free(box, lines)), None)
        chosen = chosen or next(iter(boxes), None)
        if chosen is not None:
            solid.append(boxes[chosen])
            found.append(chosen)
    return found


def _inside(box: Box, width: float, height: float) -> bool:
    return box[0] >= 0 and box[1] >= 0 and box[2] <= width and box[3] <= height


def _is_free(box: Box, others: Iterable[Box]) -> bool:
    return not any(_overlap(box, other) for other in others)


def _box(spot: Spot, align: str, dx: int, dy: int) -> Box:
    long = LETTER * len(spot.text)
    left = spot.x + dx - {"left": 0.0, "center": long / 2, "right": long}[align]
    middle = spot.y + dy
    return left, middle - LINE / 2, left + long, middle + LINE / 2


def _overlap(a: Box, b: Box) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
