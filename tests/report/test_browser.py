"""The page as a reader meets it, in a real browser."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from browser import Page, chromium, needs_chromium
from selenium.webdriver import Chrome
from selenium.webdriver.common.keys import Keys
from shown_study import CONFIGURATIONS, METHODS, TRIED, shown_study

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shown_study(tmp_path_factory.mktemp("study"))


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with chromium() as started:
        yield started


@pytest.fixture
def page(driver: Chrome, path: Path) -> Page:
    return Page(driver, path)


def focused(page: Page) -> str:
    """What has the focus, in a word or two."""
    return page.js(
        "const at = document.activeElement;"
        "return at.name || at.id || at.ariaLabel || at.textContent.trim().slice(0, 30)"
    )


# Charts


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_chart_has_marks_once_it_is_scrolled_to(
    driver: Chrome, path: Path, scheme: str
) -> None:
    page = Page(driver, path, scheme=scheme)
    number = page.js("return places.length")
    assert number > 10
    for index in range(number):
        page.drawn(index)
        assert page.marks(index), page.js("return places[arguments[0]].ariaLabel", index)
    assert page.errors() == []


def test_the_page_fetches_nothing_and_its_policy_forbids_it(page: Page) -> None:
    page.drawn(0)
    assert page.js("return performance.getEntriesByType('resource').length") == 0
    assert page.errors() == []
    page.js("window.refused = []")
    page.js(
        "addEventListener('securitypolicyviolation', (e) => refused.push(e.effectiveDirective));"
        "fetch('https://example.org/').catch(() => {});"
        "document.body.append(Object.assign(new Image(), {src: 'https://example.org/x.png'}))"
    )
    page.wait("refused.length === 2")
    assert sorted(page.js("return refused")) == ["connect-src", "img-src"]


def test_only_what_is_in_sight_is_drawn(page: Page) -> None:
    page.wait("drawn.size && !isDrawing")
    assert page.js("return drawn.size") < page.js("return places.length") / 2


def test_charts_are_drawn_again_in_the_colours_of_the_other_scheme(page: Page) -> None:
    page.drawn(0)
    ink = "getComputedStyle(places[0].querySelector('.mark-text text')).fill"
    light = page.js(f"return {ink}")
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.wait(f"places[0].querySelector('.mark-text text') && {ink} !== arguments[0]", light)


# Filters


def test_a_filter_shows_its_rows_and_marks_alone(page: Page) -> None:
    index = page.figure("s1-parameters")
    page.drawn(index)
    before = page.marks(index)
    assert any("pissa" in mark for mark in before)
    page.choose("method", "lora", "full")
    page.drawn(index)
    after = page.marks(index)
    assert 0 < len(after) < len(before)
    assert not any("pissa" in mark for mark in after)
    assert {row[1] for row in page.rows()} == {"lora", "full"}
    page.choose("rank", "16")
    assert {(row[1], row[2]) for row in page.rows()} == {("lora", "16")}
    assert page.errors() == []


def test_what_has_no_rank_is_a_choice_of_its_own(page: Page) -> None:
    page.choose("rank", "")
    assert {row[1] for row in page.rows()} == {"full"}


def test_panels_and_legends_follow_the_filters(page: Page) -> None:
    page.choose("method", "lora")
    titles = "[...document.querySelectorAll('#section-1 .curves h4')]"
    seen = page.js(f"return {titles}.filter((h) => h.offsetParent).map((h) => h.textContent)")
    assert [title.split()[0] for title in seen] == ["lora"]
    legend = "[...document.querySelectorAll('#section-1 .parameters .legend li')]"
    keys = page.js(f"return {legend}.filter((k) => k.offsetParent).map((k) => k.textContent)")
    assert keys == ["lora"]


def test_a_figure_with_nothing_of_what_is_chosen_says_so(page: Page) -> None:
    page.choose("method")
    note = "document.querySelector('#section-1 .parameters .nothing')"
    assert page.js(f"return {note}.offsetParent !== null")
    assert page.rows() == []
    page.choose("method", "lora")
    assert page.js(f"return {note}.offsetParent === null")


def test_a_method_that_is_not_chosen_has_no_row_in_a_chart_of_methods(page: Page) -> None:
    index = page.figure("s1-directions")
    page.drawn(index)
    height = page.js("return places[arguments[0]].querySelector('svg').clientHeight", index)
    page.choose("method", "lora", "dora")
    page.drawn(index)
    labels = page.js(
        "return [...places[arguments[0]].querySelectorAll('.role-axis-label text')]"
        ".map((label) => label.textContent)",
        index,
    )
    assert {"lora", "dora"} <= set(labels)
    assert "pissa" not in labels
    smaller = page.js("return places[arguments[0]].querySelector('svg').clientHeight", index)
    assert smaller < height


def test_a_control_that_is_chosen_is_shown_alone(page: Page) -> None:
    page.js("form.elements.control.value = 'control-1'; changed()")
    seen = page.js(
        "return [...document.querySelectorAll('section:not([hidden])')].map((s) => s.id)"
    )
    (section,) = seen  # and no study, which is of the other control
    assert page.js("return document.getElementById(arguments[0]).dataset.control", section) == (
        "control-1"
    )
    assert (
        page.js("return shown.textContent")
        == f"{CONFIGURATIONS} of {CONFIGURATIONS} configurations"
    )
    page.js("document.querySelector('[type=reset]').click()")
    page.wait("!document.querySelector('section[hidden]')")


def test_the_count_is_told_to_those_who_cannot_see_it(page: Page) -> None:
    assert page.js("return shown.ariaLive") == "polite"
    page.choose("method", "lora")
    both = 2 * CONFIGURATIONS
    expected = f"6 of {both} configurations; sentences are about all"
    assert page.js("return shown.textContent") == expected
    assert page.js("return document.querySelector('[data-count=method]').textContent") == "1 of 4"


def test_the_address_keeps_what_is_chosen(page: Page, driver: Chrome, path: Path) -> None:
    page.choose("method", "lora", "pissa")
    page.choose("rank", "4")
    page.js("form.elements.control.value = 'control-0'; changed()")
    fragment = page.js("return location.hash")
    again = Page(driver, path, fragment)
    assert {(row[1], row[2]) for row in again.rows()} == {("lora", "4"), ("pissa", "4")}
    assert again.js("return document.querySelector('[data-control=control-1]').hidden")
    again.js("document.querySelector('[type=reset]').click()")
    again.wait("location.hash === ''")
    assert len(again.rows()) == CONFIGURATIONS


def test_an_anchor_is_gone_to_and_loses_no_filter(page: Page) -> None:
    page.choose("method", "lora")
    page.js("document.querySelector('nav a[href=\"#section-2\"]').click()")
    page.wait("document.querySelector('#section-2').getBoundingClientRect().top < innerHeight / 2")
    page.wait("location.hash === '#method=lora'")
    assert {row[1] for row in page.rows()} == {"lora"}


def test_an_address_of_what_is_not_there_shows_everything(driver: Chrome, path: Path) -> None:
    page = Page(driver, path, "#method=gone&rank=512&control=nowhere&constructor=1")
    assert len(page.rows()) == CONFIGURATIONS
    assert page.errors() == []


# Tables


def test_headings_sort_up_and_down_by_number(page: Page) -> None:
    table = "#study-1 table"
    heading = page.js(f"return document.querySelector('{table} th:last-child button')")
    heading.click()
    assert [row[2] for row in page.rows(table)] == ["−9.0 ± 1", "+2.0 ± 1", "+10.0 ± 1", "–"]
    heading.click()
    assert [row[2] for row in page.rows(table)] == ["+10.0 ± 1", "+2.0 ± 1", "−9.0 ± 1", "–"]


def test_enter_on_a_heading_sorts(page: Page) -> None:
    page.js("document.querySelector('.ranking th:nth-child(2) button').focus()")
    page.keys(Keys.ENTER)
    methods = [row[1] for row in page.rows()]
    assert methods == sorted(methods)
    th = "document.querySelector('.ranking th:nth-child(2)')"
    assert page.js(f"return {th}.ariaSort") == "ascending"
    page.keys(Keys.SPACE)
    assert [row[1] for row in page.rows()] == sorted(methods, reverse=True)
    assert page.js(f"return {th}.ariaSort") == "descending"


def test_sorting_keeps_the_filter_and_filtering_keeps_the_order(page: Page) -> None:
    page.choose("method", "lora", "dora")
    page.js("document.querySelector('.ranking th:nth-child(3) button').click()")
    assert [row[2] for row in page.rows()] == ["1", "1", "4", "4", "16", "16"]
    page.choose("method", *METHODS)
    assert [row[2] for row in page.rows()] == 3 * ["1"] + 3 * ["4"] + 3 * ["16"]


def test_a_long_table_begins_with_its_first_rows_and_sorts_them_all(page: Page) -> None:
    table = "#study-1 details table"
    page.js("document.querySelector('#study-1 details').open = true")
    assert len(page.rows(table)) == 100
    heading = page.js(f"return document.querySelector('{table} th button')")
    for _ in range(2):
        page.js("arguments[0].click()", heading)
    assert page.rows(table)[0] == [str(TRIED - 1)]
    more = page.js("return document.querySelector('#study-1 .more')")
    assert more.text == f"Show {TRIED - 100} more of {TRIED} rows"
    more.click()
    assert len(page.rows(table)) == TRIED
    assert not more.is_displayed()


# Keyboard and phone


def test_the_first_tab_stop_skips_to_the_results(page: Page) -> None:
    page.keys(Keys.TAB)
    assert focused(page) == "Skip to the results"
    assert page.js("return document.activeElement.getBoundingClientRect().left") >= 0
    page.keys(Keys.ENTER, Keys.TAB)
    assert page.js("return document.querySelector('main').contains(document.activeElement)")


def test_the_filters_are_the_next_tab_stops_and_work_by_keys_alone(page: Page) -> None:
    page.keys(Keys.TAB, Keys.TAB)
    assert focused(page) == "control"
    page.keys(Keys.TAB)
    assert focused(page).startswith("Methods")
    assert page.js("return getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keys(Keys.ENTER, Keys.TAB, Keys.TAB)
    assert focused(page) == "None"
    page.keys(Keys.ENTER, Keys.TAB, Keys.SPACE)  # the first of the boxes
    assert {row[1] for row in page.rows()} == {"dora"}
    page.keys(Keys.ESCAPE)
    assert focused(page).startswith("Methods")
    assert page.js("return !document.activeElement.parentElement.open")


def test_a_list_closes_when_the_keyboard_leaves_it(page: Page) -> None:
    page.js("document.querySelector('.pick summary').click()")
    page.js("document.querySelector('.pick summary').focus()")
    page.keys(*[Keys.TAB] * (2 + len(METHODS) + 1 + 1))  # two buttons, the boxes, and out
    assert focused(page).startswith("Ranks")
    assert page.js("return !document.querySelector('.pick').open")


@pytest.mark.parametrize("width", [390, 320])
def test_a_phone_scrolls_tables_and_not_the_page(driver: Chrome, path: Path, width: int) -> None:
    page = Page(driver, path, width=width, height=844)
    page.js("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
    for index in range(page.js("return places.length")):
        page.drawn(index)
    assert page.js("return document.scrollingElement.scrollWidth") <= width
    assert page.js("return places.every((p) => p.querySelector('svg').clientWidth <= innerWidth)")
    assert page.errors() == []


def test_the_filters_stay_in_sight_and_cover_no_heading(driver: Chrome, path: Path) -> None:
    for width in (1280, 390):
        page = Page(driver, path, "#section-2", width=width, height=844)
        page.wait("scrollY > 0")
        bar = page.js("return form.getBoundingClientRect().toJSON()")
        assert bar["top"] == 0
        assert bar["height"] <= 100
        heading = "document.querySelector('#heading-2').getBoundingClientRect().top"
        page.wait(f"{heading} >= arguments[0] && {heading} < innerHeight", bar["bottom"])
