"""Whatever records say, a browser shows it as text."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import Page, chromium, needs_chromium
from selenium.webdriver import Chrome
from selenium.webdriver.common.action_chains import ActionChains
from synthetic_records import changed, write

from lowrank_bench.report import build
from lowrank_bench.report.study_part import Cell, Column, PageTable, StudyPart

pytestmark = [pytest.mark.slow, needs_chromium]

IMAGE = '<img src=x onerror="window.__pwned=1">'
HOSTILE = [
    "<script>window.__pwned=1</script>",
    IMAGE,
    "</script><script>window.__pwned=1</script><!-- ",
    '" onfocus="window.__pwned=1" autofocus tabindex="0" x="',
    "'+(window.__pwned=1)+'\\",
    "${window.__pwned=1} {{ 7 * 7 }} {% raw %} %s &lt;b&gt;",
    "\u202eright to left\u202c 😀 \u0645\u0631\u062d\u0628\u0627",
    "__proto__",
    "constructor",
    "without-a-space-" * 20,
]


# ends a line of a script, though not of JSON; shown as a space
LINE_END = "a line\u2028ends"


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("hostile")
    runs = root / IMAGE
    everything = " ".join(HOSTILE)
    for control in HOSTILE[:2]:
        given: dict[str, Any] = {
            "control_hash": control,
            "control": {"data": {"name": everything, HOSTILE[0]: control}, "budget": {"epochs": 2}},
            "env": {"versions": {IMAGE: everything}, "device": everything},
        }
        for i, method in enumerate(HOSTILE):
            receipts = {text: {"ok": i > 0, "value": text, "note": text} for text in HOSTILE[:3]}
            for rank in (None, 2, 8):
                write(
                    runs,
                    method=method,
                    rank=rank,
                    method_hash=f"{i}-{rank}",
                    accuracy=0.5 + 0.02 * i + 0.001 * (rank or 0),
                    change=changed(2.0 + i),
                    source=(0.9, 0.8 - 0.01 * i),
                    receipts=receipts if rank == 2 else {},
                    **given,
                )
        write(runs, method=LINE_END, rank=8, accuracy=0.5, change=changed(2.0), **given)
        error = {"type": IMAGE, "message": everything}
        told = {"status": "failed", "accuracy": None, "error": error}
        write(runs, method=IMAGE, method_hash="1-None", seed=1, **told, **given)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "parts", lambda paths, loaded: studies())
        return build.report([runs], root / "out")


def studies() -> list[StudyPart]:
    columns = [Column("method", IMAGE, tip=IMAGE), Column("said", HOSTILE[2], wide=True)]
    rows = [{"method": text, "rank": 2, "said": Cell(text, text)} for text in HOSTILE]
    table = PageTable(IMAGE, IMAGE, columns, rows)
    return [StudyPart(1, IMAGE, [IMAGE], [HOSTILE[2]], tables=[table], control=HOSTILE[0])]


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(driver: Chrome, path: Path) -> Iterator[Page]:
    page = Page(driver, path)
    elements = page.js("return document.querySelectorAll('script').length")
    yield page
    assert page.js("return window.__pwned") is None
    assert page.js("return document.querySelectorAll('img').length") == 0
    assert page.js("return document.querySelectorAll('script').length") == elements == 3
    assert page.errors() == []


def methods(page: Page, table: str = ".ranking") -> set[str]:
    return {row[1].removesuffix(" receipt failed") for row in page.rows(table)}


def test_names_are_shown_letter_by_letter(page: Page) -> None:
    assert page.js("return document.querySelector('h1').textContent") == IMAGE
    assert methods(page) == {text.strip() for text in HOSTILE} | {"a line ends"}
    names = page.js("return boxes('method').map((box) => box.value)")
    assert names == sorted([*HOSTILE, "a line ends"])
    assert HOSTILE[2].strip() in [row[1] for row in page.rows("#study-1 table")]


def test_errors_receipts_and_settings_are_shown_letter_by_letter(page: Page) -> None:
    text = page.js("return document.querySelector('main').textContent")
    everything = " ".join(HOSTILE)
    assert text.count(f"{IMAGE}: {everything}") == 2  # the errors
    assert text.count(everything) >= 4  # the controls too
    assert everything in page.js("return document.querySelector('footer').textContent")
    receipts = page.js("return document.querySelector('.failed-receipts').textContent")
    assert all(name in receipts for name in HOSTILE[:3])


def test_every_chart_is_drawn_and_its_tooltips_are_text(page: Page) -> None:
    for index in range(page.js("return places.length")):
        page.drawn(index)
        assert page.marks(index)
    index = page.figure("s1-parameters")
    page.drawn(index)
    point = page.js(
        "return [...places[arguments[0]].querySelectorAll('.mark-symbol path')].find((mark) =>"
        "mark.__data__?.datum?.label.startsWith('<img'))",
        index,
    )
    ActionChains(page.driver).move_to_element(point).perform()
    told = page.wait("document.querySelector('#vg-tooltip-element.visible')?.textContent")
    assert IMAGE in told


def test_every_name_can_be_chosen_alone(page: Page) -> None:
    for text in (*HOSTILE, "a line ends"):
        page.choose("method", text)
        assert methods(page) == {text.strip()}
    index = page.figure("s1-directions")
    page.drawn(index)
    assert page.marks(index)


def test_a_name_survives_the_address(page: Page, driver: Chrome, path: Path) -> None:
    page.choose("method", *HOSTILE[:4])
    page.js("form.elements.control.value = arguments[0]; changed()", HOSTILE[1])
    again = Page(driver, path, page.js("return location.hash"))
    assert again.js("return [...choice.methods]") == sorted(HOSTILE[:4])
    assert again.js("return choice.control") == HOSTILE[1]


def test_tables_sort_by_such_names(page: Page) -> None:
    page.js(
        "tables.forEach(({ element }) => element.querySelector('th:nth-child(2) button').click())"
    )
    assert {text.strip() for text in HOSTILE} < methods(page)


def test_long_names_do_not_widen_a_phone(driver: Chrome, path: Path) -> None:
    page = Page(driver, path, width=390, height=844)
    page.js("document.querySelectorAll('section details').forEach((d) => { d.open = true; })")
    page.drawn(0)
    assert page.js("return document.scrollingElement.scrollWidth") <= 390
    page.js("document.querySelector('.pick').open = true")
    page.js("document.querySelectorAll('nav details').forEach((d) => { d.open = true; })")
    assert page.js("return document.scrollingElement.scrollWidth") <= 390
    assert page.js("return form.getBoundingClientRect().height") <= 100
