"""The page of a study in a real browser: no error, nothing wider than a phone, readable in both colour schemes.

Skipped where there is no Chromium with its driver (on Debian: apt-get install chromium-driver) or no selenium.
"""

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from studies import a_run, grid_study, whole_study

from hf_squareloss.comparison import RunRecord, report, write_run

webdriver: Any = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not BROWSER or not DRIVER, reason="there is no Chromium with its driver")

WIDE = """
const beyond = e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
const outside = [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll') && !e.closest('svg *'));
return outside.filter(beyond).map(e => e.tagName + ' ' + e.getAttribute('class'))"""
# WCAG 2.1, 1.4.3: relative luminances of text and of what is behind it.
CONTRAST = """
const channel = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
const numbers = c => c.match(/[\\d.]+/g).map(Number).map(channel);
const luminance = c => { const [r, g, b] = numbers(c); return .2126 * r + .7152 * g + .0722 * b };
const ground = e => getComputedStyle(e).backgroundColor;
const behind = e => /, 0\\)$/.test(ground(e)) ? behind(e.parentElement) : ground(e);
const seen = [...document.querySelectorAll('p, li, th, td, h1, h2, h3, a, figcaption, svg text')].map(e => {
    const style = getComputedStyle(e), back = luminance(behind(e));
    const text = luminance(e.closest('svg') ? style.fill : style.color);
    return [(Math.max(text, back) + .05) / (Math.min(text, back) + .05), e.tagName + ' ' + e.getAttribute('class')] });
return seen.reduce((worst, each) => each[0] < worst[0] ? each : worst)"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    name = "a_name_without_any_place_to_break_it_" * 4
    arguments = {"arguments": [name] * 3}
    wild = [
        a_run(task=name, label=name, settings=arguments),
        a_run(task=name, loss="cross_entropy", settings=arguments),
    ]

    def made(runs: list[RunRecord]) -> Path:
        folder = tmp_path_factory.mktemp("study")
        for run in runs:
            write_run(folder, run)
        return report(folder)

    return {"whole": made(whole_study()), "grid": made(grid_study()), "wild": made(wild)}


def show(browser: Any, page: Path, width: int, scheme: str) -> None:
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "screen", "features": features})
    browser.get(page.as_uri())


@pytest.mark.parametrize("name", ["whole", "grid", "wild"])
@pytest.mark.parametrize("width", [360, 1200])
def test_nothing_is_wider_than_the_window_and_nothing_fails(
    browser: Any, pages: dict[str, Path], name: str, width: int
) -> None:
    show(browser, pages[name], width, "light")
    assert browser.get_log("browser") == []
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(WIDE) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(browser: Any, pages: dict[str, Path], scheme: str) -> None:
    show(browser, pages["whole"], 360, scheme)
    contrast, where = browser.execute_script(CONTRAST)
    assert contrast >= 4.5, where
    ground = browser.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(13, 17, 23)"}[scheme]


def test_text_in_pictures_has_a_readable_size_on_a_phone(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["whole"], 360, "light")
    heights = browser.execute_script(
        "return [...document.querySelectorAll('figure svg text')].map(e => e.getBoundingClientRect().height)"
    )
    assert len(heights) > 100 and min(heights) > 10


def test_it_prints_on_white_without_cutting_tables(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["whole"], 700, "dark")
    features = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": features})
    assert browser.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert browser.execute_script("return document.documentElement.scrollWidth") <= 700  # A4 without its margins is 688
    printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True, "preferCSSPageSize": True})
    assert base64.b64decode(printed["data"]).startswith(b"%PDF")


def test_a_page_that_is_too_wide_is_noticed(browser: Any, tmp_path: Path) -> None:
    page = tmp_path / "wide.html"
    page.write_text(
        '<body style="background: rgb(255, 255, 255)"><p style="width: 500px; color: rgb(200, 200, 200)">a</p>'
        "<script>nothing()</script>"
    )
    show(browser, page, 360, "light")
    assert browser.execute_script(WIDE) == ["P null"] and len(browser.get_log("browser")) == 1
    assert browser.execute_script(CONTRAST)[0] < 2
