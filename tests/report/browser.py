"""A headless Chromium that opens a page from its file, and says what went wrong in it."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.support.wait import WebDriverWait

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next(filter(None, map(shutil.which, NAMES)), None)
DRIVER = shutil.which("chromedriver")
PATIENCE = 120  # seconds; a busy machine is not a broken page

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None, reason="chromium or chromedriver is not installed"
)


@contextmanager
def chromium() -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=ChromeService(DRIVER))
    try:
        driver.set_page_load_timeout(PATIENCE)
        driver.set_script_timeout(PATIENCE)
        yield driver
    finally:
        driver.quit()


class Page:
    """A page in a window of its own size, light or dark."""

    def __init__(
        self,
        driver: Chrome,
        path: Path,
        fragment: str = "",
        *,
        width: int = 1280,
        height: int = 900,
        scheme: str = "light",
    ) -> None:
        self.driver = driver
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        driver.get("about:blank")  # another fragment of the same file would load nothing
        driver.get_log("browser")  # what an earlier page said
        driver.get(f"file://{quote(str(path))}{fragment}")
        self.wait("typeof form !== 'undefined' && document.readyState === 'complete'")

    def js(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, expression: str, *arguments: Any) -> Any:
        """Until the expression is true; what it is then."""
        return WebDriverWait(self.driver, PATIENCE, 0.05).until(
            lambda _: self.js(f"return {expression}", *arguments), expression
        )

    def keys(self, *keys: str) -> None:
        """Pressed one after the other, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def drawn(self, index: int) -> None:
        """Scroll to a chart, and wait until it is drawn as it was last asked for."""
        self.js("places[arguments[0]].scrollIntoView({block: 'center'})", index)
        told = "drawn.has(places[arguments[0]]) && !stale.has(places[arguments[0]]) && !isDrawing"
        self.wait(told, index)

    def figure(self, id: str) -> int:
        """The index of the first chart of a figure."""
        return self.js("return places.findIndex((p) => p.dataset.figure === arguments[0])", id)

    def marks(self, index: int) -> list[str]:
        """What a screen reader is told of each mark of a chart: its tooltip's fields."""
        return self.js(MARKS, index)

    def rows(self, table: str = ".ranking") -> list[list[str]]:
        """The cells of the rows in sight of the first table that the selector finds."""
        return self.js(
            "return [...document.querySelector(arguments[0]).tBodies[0].rows]"
            ".map((row) => [...row.cells].map((cell) => cell.textContent.trim()))",
            table,
        )

    def choose(self, name: str, *values: str) -> None:
        """Choose these alone, by the list's own buttons and boxes."""
        self.js(f"document.querySelector('[data-none={name}]').click()")
        for value in values:
            self.js(
                f"[...document.querySelectorAll('input[name={name}]')]"
                ".find((box) => box.value === arguments[0]).click()",
                value,
            )

    def errors(self) -> list[str]:
        return [line["message"] for line in self.driver.get_log("browser")]


KINDS = ("symbol path", "line path", "rule line", "rect path", "area path", "text text")
MARKS = f"""
return [...places[arguments[0]].querySelectorAll("{", ".join(f".mark-{kind}" for kind in KINDS)}")]
  .filter((mark) => mark.getBBox().width + mark.getBBox().height > 0)
  .map((mark) => mark.getAttribute("aria-label") ?? "")
"""
