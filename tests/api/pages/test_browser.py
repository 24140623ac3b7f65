"""Pages in a real browser: by keyboard, as a screen reader tells them, and drawn."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aroma.kgstore.home import Home
from tests.support.browser import Browser, find_browser
from tests.support.server import ServerProcess

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no chromium is installed")
PAIR = "/pair?perturbation=TULP1&target=ITCH&cell_line=RPE1"
TAB, ENTER = ("Tab", 9), ("Enter", 13)


@pytest.fixture(scope="module")
def server(sample_home: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(sample_home.path, tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "profile") as running:
        yield running


def test_a_pair_is_asked_by_keyboard_alone(server: ServerProcess, browser: Browser):
    browser.open(f"{server.url}/")
    browser.press(*TAB)
    assert browser.js("document.activeElement.textContent") == "Skip to the content"
    browser.press(*TAB)
    for name, value in (("perturbation", "TULP1"), ("target", "ITCH"), ("cell_line", "RPE1")):
        browser.press(*TAB)
        assert browser.js("document.activeElement.name") == name
        browser.type(value)
    browser.press(*ENTER, text="\r", leads=True)
    assert browser.js("location.pathname + location.search") == PAIR
    assert browser.js("document.querySelector('h1').innerText") == "TULP1 → ITCH in RPE1"


def test_nothing_is_fetched_from_elsewhere_and_nothing_is_refused(server: ServerProcess, browser: Browser):
    for path in ("/", PAIR, "/gene/TULP1", "/audit", "/changes", "/models", "/search?q=TUL"):
        browser.open(server.url + path)
    elsewhere = [url for url in browser.asked if not url.startswith((server.url, "data:"))]
    assert elsewhere == []
    assert browser.console == []


def test_a_screen_reader_is_told_what_the_eye_sees(server: ServerProcess, browser: Browser):
    browser.open(server.url + PAIR)
    told = browser.accessible()
    headings = [name for role, name in told if role == "heading"]
    assert headings[0] == "TULP1 → ITCH in RPE1"
    assert "Paths in the knowledge graph" in headings
    names = {name for role, name in told if role == "link"}
    assert {"Audit", "What changed", "Models"} <= names
    assert not [role for role, name in told if role in {"link", "button", "textbox", "searchbox"} and not name.strip()]
    labelled = [name for role, name in told if role in {"textbox", "searchbox", "combobox"}]
    assert labelled == ["Perturbation gene", "Target gene", "Cell line", "Gene"]


def test_the_drawing_is_seen_and_stays_within_a_narrow_window(server: ServerProcess, tmp_path: Path):
    with Browser(tmp_path / "narrow", width=420, height=900) as browser:
        browser.open(server.url + PAIR)
        assert browser.js("document.documentElement.scrollWidth <= innerWidth") is True
        boxes = browser.js(
            "[...document.querySelectorAll('svg.paths g')].map(one => one.getBoundingClientRect().width)"
        )
        assert len(boxes) > 2
        assert min(boxes) > 20
        picture = browser.screenshot(tmp_path / "pair.png")
    assert len(picture) > 10_000


def test_a_hop_in_the_drawing_leads_to_its_statements(server: ServerProcess, browser: Browser):
    browser.open(server.url + PAIR)
    hop = "document.querySelector('svg.paths a[href^=\"#hop\"]')"
    browser.js(f"{hop}.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))")
    assert browser.js(f"location.hash === {hop}.getAttribute('href')") is True
    assert "annotated to" in browser.js("document.querySelector(':target').innerText")
