"""The report in a real browser."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from playwright.sync_api import Browser, Locator, Page, expect, sync_playwright

from scalpel_bench.benchmarks.analysis import analyse
from scalpel_bench.benchmarks.records import Folder, load_sweep
from scalpel_bench.benchmarks.report import write_page
from tests.benchmarks.recorded import HOSTILE, recorded, reported
from tests.benchmarks.runs import BOX, DATA, analysed, conditioning, plan, record

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
VALUES = "cells => cells.map(cell => cell.dataset.value)"
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no browser: apt-get install chromium")


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return reported(tmp_path_factory.mktemp("recorded") / "conditioning" / "smoke")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def loaded(browser, folder) -> Iterator[tuple[Page, list[str]]]:
    """The page at desktop width, and everything that its console, its errors, dialogs and requests say."""
    page, said = browser.new_page(viewport={"width": 1280, "height": 900}), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("dialog", lambda dialog: said.append(dialog.message))
    page.on("request", lambda request: said.append(request.url))
    page.goto((folder / "report.html").as_uri())
    yield page, said
    page.close()


@pytest.fixture
def page(loaded) -> Page:
    page, _ = loaded
    page.reload()
    return page


def figure(page: Page, name: str) -> Locator:
    return page.locator(f'[data-figure="{name}"]')


def points(page: Page, name: str, method: str) -> int:
    drawn = figure(page, name).locator(f'.series[data-method="{method}"] .points')
    return int(drawn.get_attribute("data-count") or 0) if drawn.count() else 0


def tip(page: Page, name: str) -> str:
    return " ".join(figure(page, name).locator(".tip").inner_text().split())


def test_it_loads_with_nothing_said_and_nothing_fetched(loaded, folder) -> None:
    page, said = loaded
    assert set(said) == {(folder / "report.html").as_uri()}
    for name in ("relative", "front", "lam", "curve", "diagnostic"):
        assert points(page, name, "bloop") > 0
    assert page.locator("#figures").count() == 0  # one experiment shows its own
    assert page.locator("nav").inner_text().split() == ["conditioning", "smoke"]


def test_hover_and_arrow_keys_show_a_run_and_all_its_metrics(page, folder) -> None:
    summary = pd.read_csv(folder / "summary.csv")
    plot = figure(page, "front").locator(".plot")
    plot.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    text = tip(page, "front")
    found = re.match(r"Bloop λ (\S+), seed (\d), learning rate (\S+) ", text)
    assert found, text
    lam, seed, rate = map(float, found.groups())
    keys = {"method": "bloop", "lam": lam, "seed": seed, "lr": rate}
    (run,) = summary[(summary[list(keys)] == pd.Series(keys)).all(axis=1)].to_dict("records")
    for metric in ("main", "aux"):
        assert (
            " ".join(
                [metric, *(f"{run[f'{split}_{metric}']:.4g}" for split in ("train", "validation", "test"))]
            )
            in text
        )
    assert f"λ {lam:g}" in figure(page, "front").locator("[aria-live]").inner_text()
    box = figure(page, "front").locator(".ring").bounding_box()
    assert box
    page.keyboard.press("Escape")
    assert figure(page, "front").locator(".tip").is_hidden()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    assert tip(page, "front") == text
    page.mouse.move(5, 5)
    assert figure(page, "front").locator(".tip").is_hidden()


def test_a_legend_button_hides_a_method_everywhere(page) -> None:
    button = page.get_by_role("button", name="Bloop", exact=True)
    before = {name: points(page, name, "sum") for name in ("relative", "front", "lam", "curve", "diagnostic")}
    button.click()
    assert button.get_attribute("aria-pressed") == "false"
    for name, count in before.items():
        assert points(page, name, "bloop") == 0
        assert points(page, name, "sum") == count
    button.focus()
    page.keyboard.press("Space")
    assert button.get_attribute("aria-pressed") == "true"
    assert points(page, "front", "bloop") > 0


def test_splits_and_protocols_change_points_and_axes(page) -> None:
    axis = figure(page, "front").locator(".axis").first
    assert ", test" in axis.inner_text()
    before = figure(page, "front").locator('[data-method="sum"] .points').get_attribute("d")
    page.get_by_role("radio", name="train").check(force=True)
    assert ", train" in axis.inner_text()
    assert figure(page, "front").locator('[data-method="sum"] .points').get_attribute("d") != before
    fixed = points(page, "lam", "bloop")
    page.get_by_role("radio", name="per-method").check(force=True)
    assert points(page, "lam", "bloop") == 2 * fixed


def test_metrics_diagnostics_bands_and_tables_can_be_chosen(page) -> None:
    figure(page, "lam").locator("select").select_option("aux")
    assert "aux" in str(figure(page, "lam").locator("svg[role=img]").get_attribute("aria-label"))
    figure(page, "diagnostic").get_by_label("Show").select_option("main_norm")
    assert figure(page, "diagnostic").locator(".axis").first.inner_text() == "‖g_m‖"
    figure(page, "curve").locator("select[name=lam]").select_option("0.1")
    assert figure(page, "diagnostic").locator("select[name=lam]").input_value() == "0.1"
    assert figure(page, "front").locator(".band").count() == 0
    figure(page, "front").get_by_label("Attainment bands").check()
    assert figure(page, "front").locator(".band").count() == 3
    assert figure(page, "relative").locator(".band").count() == 1
    page.get_by_text("All runs").click()
    expect(page.locator("details[data-runs] tbody tr")).to_have_count(40)
    figure(page, "front").get_by_label("Beyond the box").check()
    figure(page, "front").get_by_text("Data of this figure").click()
    expect(figure(page, "front").locator("tbody th", has_text="Bloop")).to_have_count(
        points(page, "front", "bloop")
    )


def test_tab_reaches_controls_and_figures(page) -> None:
    reached = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.className || document.activeElement.tagName"))
        if page.evaluate("document.activeElement.matches('[data-figure=front] .plot')"):
            assert figure(page, "front").locator(".tip").is_visible()
            page.keyboard.press("Tab")
            assert figure(page, "front").locator(".tip").is_hidden()
    assert {"skip", "A", "INPUT", "BUTTON", "SELECT", "plot", "SUMMARY"} <= reached


def test_every_figure_has_a_text_alternative(page) -> None:
    labels = page.locator("svg[role=img]").evaluate_all("all => all.map(e => e.ariaLabel)")
    assert len(labels) == 5
    for label in labels:
        assert re.search(r"Bloop: \d+ points, .+ to .+", label), label


def test_a_hostile_name_is_shown_as_it_is(page) -> None:
    assert page.get_by_role("button", name=HOSTILE).is_visible()
    assert page.locator("main script").count() == 0


def test_heads_sort_the_rows_of_ratios(page) -> None:
    table = page.locator("table.ratios").first
    methods = table.locator("tbody th")
    page.keyboard.press("Tab")
    head = table.get_by_role("button", name="test")
    head.focus()
    page.keyboard.press("Enter")
    rising = methods.all_inner_texts()
    assert table.locator("th[aria-sort=ascending]").inner_text() == "test"
    values = [float(v) for v in table.locator("td[data-label=test]").evaluate_all(VALUES) if v]
    assert values == sorted(values)
    assert len(values) > 1
    head.click()
    valued = len(values)
    assert methods.all_inner_texts()[:valued] == rising[:valued][::-1]  # those without a value stay last
    assert methods.all_inner_texts()[valued:] == rising[valued:]
    table.get_by_role("button", name="Method").click()
    assert methods.all_inner_texts() == sorted(methods.all_inner_texts(), key=str.lower)


def test_many_experiments_open_with_their_figures_and_the_rest_is_folded(browser, folder) -> None:
    """Each has the records of `folder`; unfolded, one is some 2,500 pixels tall."""
    analysis = analyse(load_sweep(Folder(folder)))
    html = folder.parent / "many.html"
    write_page(html, [analysis] * 12, [])
    page, said = browser.new_page(viewport={"width": 1280, "height": 900}), []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.goto(html.as_uri())
    cards = page.locator("#figures [data-card]")
    assert cards.count() == 12
    assert cards.first.bounding_box()["y"] < 900  # the headline is seen first
    assert page.evaluate("document.documentElement.scrollHeight") < 6000
    assert page.locator("[data-figure=front] svg").count() == 0  # nothing is drawn before it is opened
    lines = cards.last.locator("[data-method=bloop] .median")
    before = lines.get_attribute("d")
    page.locator("#figures").get_by_role("button", name="Bloop", exact=True).click()
    assert lines.count() == 0
    page.locator("#figures").get_by_role("button", name="Bloop", exact=True).click()
    page.locator("#figures").get_by_role("radio", name="train").check(force=True)
    assert cards.last.locator(".plot").get_attribute("aria-label").count(", train")
    assert lines.get_attribute("d") != before
    summary = page.locator("details.experiment > summary").nth(3)
    summary.focus()
    page.keyboard.press("Enter")
    page.locator("#e3 [data-figure=front] .points").first.wait_for()
    cards.nth(7).get_by_role("link").click()
    page.locator("#e7 [data-figure=front] .points").first.wait_for()
    assert not said
    page.close()


@pytest.mark.parametrize("scale", [0.5, 4.0])
def test_fronts_end_at_the_box_and_are_shown_where_none_enters_it(browser, tmp_path, scale) -> None:
    experiment = conditioning(figure="fronts", lam=[0.1, 0.2, 8.0], seeds=1, box=BOX)
    runs = [run for run in plan(experiment) if run.label in ("sum", "bloop")]
    records = [record(run, scale / run.lam**0.1, 1 + 10 * run.lam) for run in runs]
    write_page(tmp_path / "page.html", [analysed(records, experiment, DATA.fingerprint)], [])
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    ticks = figure(page, "front").locator("svg text[text-anchor=middle]")

    def last() -> float:
        return float(ticks.all_text_contents()[-1])

    enters = scale < 1
    assert points(page, "front", "bloop") == (2 if enters else 3)
    assert (last() <= BOX["aux"][1]) == enters
    assert ("outside" in figure(page, "front").locator(".axis").first.inner_text()) == enters
    assert page.get_by_text("No front enters the box").count() == (not enters)
    assert page.get_by_text("Grey:").count() == 0  # every method is in colour
    figure(page, "front").get_by_label("Beyond the box").check()
    assert last() > BOX["aux"][1]
    page.close()


@pytest.mark.parametrize("main", [0.3, 0.9])
def test_what_leaves_the_headline_is_drawn_at_its_edge_and_that_is_said(browser, tmp_path, main) -> None:
    experiment = conditioning(figure="fronts", lam=[0.1, 0.2, 0.5], seeds=1, box=BOX)
    runs = [run for run in plan(experiment) if run.label in ("sum", "bloop")]
    mains = {"sum": 0.1, "bloop": main}
    records = [record(run, mains[run.label] / (1 + run.lam), 2 + 10 * run.lam) for run in runs]
    write_page(tmp_path / "page.html", [analysed(records, experiment, DATA.fingerprint)], [])
    page = browser.new_page()
    page.goto((tmp_path / "page.html").as_uri())
    plot = figure(page, "relative")
    far = main / mains["sum"] > 4
    assert ("drawn at the edge" in plot.locator(".axis").first.inner_text()) == far
    median = plot.locator('.series[data-method="bloop"] .median')
    assert "NaN" not in median.get_attribute("d")
    assert median.bounding_box()["y"] >= plot.locator("svg[role=img]").bounding_box()["y"]
    assert points(page, "relative", "bloop") > 0
    page.close()


def test_a_picture_opens_larger_and_closes(browser, tmp_path) -> None:
    path = recorded(tmp_path / "conditioning" / "smoke")
    (path / "figures").mkdir()
    Figure(figsize=(10, 4)).savefig(path / "figures" / "parallel.png")
    write_page(tmp_path / "page.html", [analyse(load_sweep(Folder(path)))], [])
    page = browser.new_page(viewport={"width": 390, "height": 800})
    page.goto((tmp_path / "page.html").as_uri())
    page.get_by_role("button", name="Losses of").click()
    assert page.locator("dialog img").bounding_box()["width"] >= 900
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("button", name="Close").click()
    expect(page.locator("dialog")).to_have_count(0)
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_it_fits_phones_and_dark_mode(browser, folder, scheme, width) -> None:
    page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 800})
    page.goto((folder / "report.html").as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    ground, text = page.evaluate(
        "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
    )
    brightness = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ground, text)]
    assert (brightness[0] < 100 < 600 < brightness[1]) == (scheme == "dark")
    page.set_viewport_size({"width": 700, "height": 800})
    widths = "[...document.querySelectorAll('.area')].every(e => e.firstChild.clientWidth <= e.clientWidth)"
    page.wait_for_function(widths)
    page.close()
