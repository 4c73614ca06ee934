"""The site: built strictly, its links followed, its pages opened from disk in a browser."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, sync_playwright

from scalpel_bench import methods
from scalpel_bench.entries import read_folder
from tests.benchmarks.report.test_page import CHROMIUM
from tests.test_documents import DOCUMENTS

ROOT = Path(__file__).parents[1]
BUILD = ["-m", "sphinx", "--quiet", "--fail-on-warning", "--keep-going", "-c", "docs/site"]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("sphinx") is None, reason="no sphinx: make docs installs it"),
]


@pytest.fixture(scope="session")
def site(tmp_path_factory) -> Path:
    """The site in the folder that the variable SITE names, or a new one."""
    if built := os.environ.get("SITE"):
        return Path(built).resolve()
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, *BUILD, "-d", str(folder / "doctrees"), ".", str(folder / "pages")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "pages"


class Read(HTMLParser):
    """What a page links, what it loads, and the places in it that can be linked."""

    def __init__(self, page: Path) -> None:
        super().__init__()
        self.links: set[str] = set()
        self.loaded: set[str] = set()
        self.places: set[str] = {""}
        self.feed(page.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.places |= {given[key] for key in ("id", "name") if key in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif "href" in given or "src" in given:
            self.loaded.add(given.get("src", given.get("href", "")))


@pytest.fixture(scope="session")
def pages(site) -> dict[Path, Read]:
    return {page: Read(page) for page in site.rglob("*.html") if "_static" not in page.parts}


def test_every_document_is_a_page(site, pages) -> None:
    wanted = [*DOCUMENTS, "CHANGELOG.md", *(f"docs/api/{f.name}" for f in (ROOT / "docs/api").iterdir())]
    for document in wanted:
        assert site / Path(document).with_suffix(".html") in pages


def test_links_lead_to_pages_files_and_sections(pages) -> None:
    broken = []
    for page, read in pages.items():
        for link in read.links | read.loaded:
            parts = urlsplit(link)
            if parts.scheme:
                assert parts.scheme in ("https", "data"), link
                continue
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            if not target.is_file() or (
                target in pages and unquote(parts.fragment) not in pages[target].places
            ):
                broken.append((page.name, link))
    assert broken == []


def test_nothing_is_loaded_from_a_network(site, pages) -> None:
    for page, read in pages.items():
        assert [link for link in read.loaded if re.match(r"\w+://|//", link)] == [], page
    for style in site.rglob("*.css"):
        assert re.findall(r"(?:url\(|@import)\s*['\"]?(?:https?:)?//", style.read_text()) == [], style


def test_the_api_has_every_method_and_what_is_exported(site) -> None:
    text = (site / "docs/api/methods.html").read_text()
    for name in read_folder("methods").entries:
        assert f'id="scalpel_bench.methods.{methods.get(name).__name__}"' in text
    text = (site / "docs/api/results.html").read_text()
    assert 'id="scalpel_bench.load_results"' in text


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no browser: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.mark.parametrize("width", [360, 1280])
def test_pages_open_from_disk_and_say_nothing(browser, site, width) -> None:
    page, said = browser.new_page(viewport={"width": width, "height": 800}), []
    page.on("console", lambda m: m.type in ("error", "warning") and said.append(m.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or said.append(request.url))
    for name in ("index", "docs/methods", "results/README", "docs/api/surgeon"):
        page.goto((site / f"{name}.html").as_uri())
        page.wait_for_url(
            f"**/{'README' if name == 'index' else name}.html"
        )  # the first page leads to README
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
    assert said == []
    page.close()


def test_the_search_finds_a_page_from_disk(browser, site) -> None:
    page = browser.new_page()
    page.goto((site / "search.html").as_uri() + "?q=streaming")
    page.locator("#search-results li a", has_text="Surgery in your own training loop").first.click()
    assert page.url.startswith((site / "docs/training_loop.html").as_uri())
    page.close()
