"""Names find room, or stay away."""

from itertools import combinations

from lowrank_bench.report.naming import MARK, Place, Spot, _box, _overlap, placed


def test_a_name_stands_to_the_right_where_there_is_room() -> None:
    assert placed([Spot("lora", 50, 50)], [(50, 50)], 200, 100) == [Place("lora", "left", 10, 0)]


def test_a_name_at_the_right_edge_stands_to_the_left() -> None:
    [place] = placed([Spot("lora", 190, 50)], [(190, 50)], 200, 100)
    assert place.align == "right"


def test_no_name_lies_over_another_a_mark_or_the_edge() -> None:
    spots = [Spot(f"method {i}", 60 + 9 * i, 50 + 4 * (i % 5)) for i in range(30)]
    marks = [(spot.x, spot.y) for spot in spots]
    places = placed(spots, marks, 400, 120)
    by_text = {spot.text: spot for spot in spots}
    boxes = [_box(by_text[p.text], p.align, p.dx, p.dy) for p in places]
    assert 2 < len(boxes) < 30
    assert not any(_overlap(a, b) for a, b in combinations(boxes, 2))
    points = [(x - MARK, y - MARK, x + MARK, y + MARK) for x, y in marks]
    assert not any(_overlap(box, point) for box in boxes for point in points)
    assert all(box[0] >= 0 and box[1] >= 0 and box[2] <= 400 and box[3] <= 120 for box in boxes)


def test_the_first_in_line_gets_the_place() -> None:
    spots = [Spot("first", 20, 20), Spot("second", 20, 20)]
    places = placed(spots, [(20, 20)], 66, 28)
    assert [place.text for place in places] == ["first"]


def test_thin_lines_are_avoided_as_long_as_there_is_another_place() -> None:
    spot = Spot("lora", 100, 50)
    across = (0.0, 49.0, 200.0, 51.0)
    [beside] = placed([spot], [(100, 50)], 200, 100, thin=[across])
    assert beside.dy != 0
    [over] = placed([spot], [(100, 50)], 200, 100, thin=[(0.0, 0.0, 200.0, 100.0)])
    assert over == Place("lora", "left", 10, 0)
    assert placed([spot], [(100, 50)], 200, 100, taken=[(0.0, 0.0, 200.0, 100.0)]) == []
