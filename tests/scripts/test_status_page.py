"""The status page in a real browser: read in light, dark, on a phone and on paper, clicked through, attacked.

It needs Chromium: on PATH as chromium, chromium-browser or google-chrome, or where CHROMIUM says.
"""

from __future__ import annotations

import datetime as dt
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from services.utils.status import page as pages
from services.utils.status.report import Report
from tests.scripts.conftest import APP, SIGNALS, WORK_ORDERS, Way
from tests.scripts.test_ledger import show
from tests.statuses import HOSTILE, build_report

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
DESK, PHONE = (1200, 900), (360, 740)
# Each text against what is painted behind it, by the formula of WCAG 2.2; those that are too faint.
FAINT = """() => {
  const parse = c => (c.match(/[0-9.]+/g) || []).map(Number);
  const light = c => { const [r, g, b] = c.slice(0, 3).map(v => (v /= 255) <= 0.04045 ? v / 12.92
    : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] > 0) return c; } return [255, 255, 255]; };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    if (e.closest('svg') || e.tagName === 'SCRIPT' || !e.getClientRects().length) continue;
    if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push([ratio.toFixed(2), e.tagName, e.className, e.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Chromium without a window."""
    names = ("chromium", "chromium-browser", "google-chrome")
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, names)), None)
    if not found:
        pytest.fail(
            "no Chromium on this machine, and the status page is not tested without one: install it "
            "(apt-get install chromium), or say in CHROMIUM where it is"
        )
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=found, args=list(FLAGS))
        yield running
        running.close()


@contextmanager
def opened(
    browser: Browser, file: Path, size: tuple[int, int] = DESK, scheme: str = "light", script: bool = True
) -> Iterator[Page]:
    """The page in a tab of its own; afterwards it must have said nothing, and asked nobody for anything."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]},
        color_scheme=scheme,  # type: ignore[arg-type]
        java_script_enabled=script,
    )
    said: list[str] = []
    asked: list[str] = []
    tab = context.new_page()
    tab.on("console", lambda message: said.append(f"{message.type}: {message.text}"))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("dialog", lambda dialog: (said.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(file.as_uri())
    yield tab
    context.close()
    assert said == []
    assert {url.partition("#")[0] for url in asked} <= {file.as_uri(), "data:,"}


@pytest.fixture
def report(tmp_path: Path) -> tuple[Report, Path]:
    """A page of three containers, made just now, where one needs somebody."""
    made = build_report(3, 9, made_at=dt.datetime.now(dt.UTC))
    one = made.containers[2]
    one.tone, one.lines[1].tone, one.lines[1].words = "bad", "bad", "failed 2 times in a row"
    one.lines[1].cure, one.lines[1].command = (
        "Run `it` again.",
        "python services/records_to_socrata.py " + "-x " * 50,
    )
    assert one.lines[1].latest
    one.lines[1].latest.failures, one.lines[1].latest.error = 2, "Socrata said no. " + "w" * 300
    file = tmp_path / "status.html"
    pages.write_page(made, file)
    return made, file


def is_wide(tab: Page) -> bool:
    """Whether one would have to scroll sideways."""
    return bool(tab.evaluate("document.documentElement.scrollWidth > innerWidth"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", [DESK, PHONE])
def test_page__is_readable(
    browser: Browser, report: tuple[Report, Path], size: tuple[int, int], scheme: str
) -> None:
    """Overview and a container's page fit the screen, and every text stands out from what is behind it."""
    with opened(browser, report[1], size, scheme) as tab:
        assert tab.locator("h1:visible").inner_text().strip() == "1 container needs you"
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == (
            "rgb(245, 246, 247)" if scheme == "light" else "rgb(17, 20, 23)"
        )
        assert not is_wide(tab) and tab.evaluate(FAINT) == []
        tab.locator("#all tbody th a").first.click()
        tab.locator("article:visible summary").first.click()
        assert tab.locator("article:visible table").count() > 0
        assert not is_wide(tab) and tab.evaluate(FAINT) == []


def test_page__fits_every_width(browser: Browser, report: tuple[Report, Path]) -> None:
    """From a phone to a wide screen nobody has to scroll sideways, though a name or an error has no place to break."""
    with opened(browser, report[1]) as tab:
        for width in (320, 500, 760, 920, 940, 1040, 1180, 1300):
            tab.set_viewport_size({"width": width, "height": 800})
            assert not is_wide(tab), width
            assert tab.evaluate("document.querySelector('#all').scrollWidth <= document.body.clientWidth"), (
                width
            )


def test_page__is_clicked_through(browser: Browser, report: tuple[Report, Path]) -> None:
    """Every container's page opens by its link and leads back; the reader's focus and the title go along."""
    with opened(browser, report[1]) as tab:
        assert tab.locator(".alarm").first.inner_text().count("failed 2 times in a row") == 1
        for number in range(3):
            link = tab.locator("#all tbody th a").nth(number)
            name = link.inner_text()
            link.press("Enter")
            assert tab.locator("h1:visible").count() == 1 and not tab.locator("#overview").is_visible()
            assert name in tab.title() and name in tab.locator(":focus").inner_text()
            assert tab.locator("article:visible svg.bars path").count() > 6
            assert tab.locator("article:visible .map path.dots").is_visible()
            if number:
                tab.locator("article:visible .back a").first.click()
            else:
                tab.go_back()
            assert tab.locator("#overview").is_visible() and not tab.locator("article:visible").count()


def test_page__finds_and_sorts(browser: Browser, report: tuple[Report, Path]) -> None:
    """The table is narrowed by words and by state, and sorted by the keyboard; the worst stands first at first."""
    with opened(browser, report[1]) as tab:
        names = tab.locator("#all tbody tr:visible th a")
        assert names.all_inner_texts() == ["city/object_2", "city/object_0", "city/object_1"]
        tab.get_by_label("Find").fill("OBJECT_1")
        assert names.all_inner_texts() == ["city/object_1"]
        assert tab.locator("#shown").inner_text() == "1 of 3 shown"
        tab.get_by_label("Find").fill("")
        tab.get_by_label("Show").select_option("bad")
        assert names.all_inner_texts() == ["city/object_2"]
        tab.get_by_label("Show").select_option("")
        button = tab.get_by_role("button", name="Container")
        button.press("Enter")
        assert names.all_inner_texts() == ["city/object_0", "city/object_1", "city/object_2"]
        button.press("Enter")
        assert names.all_inner_texts() == ["city/object_2", "city/object_1", "city/object_0"]
        assert tab.locator("th[aria-sort=descending]").count() == 1


def test_page__every_part_has_a_name(browser: Browser, report: tuple[Report, Path]) -> None:
    """Pictures, fields and tables can be told apart without eyes; headings leave out no level."""
    with opened(browser, report[1]) as tab:
        assert (
            tab.locator("svg[role=img]:not([aria-label]), svg:not([role=img]):not([aria-hidden])").count()
            == 0
        )
        assert tab.evaluate(
            "[...document.querySelectorAll('input, select')].every(e => e.labels.length === 1)"
        )
        levels = tab.evaluate(
            "[...document.querySelectorAll('#overview h1, #overview h2, #overview h3')].map(e => +e.tagName[1])"
        )
        assert levels[0] == 1 and all(after - before <= 1 for before, after in zip(levels, levels[1:]))
        assert tab.locator("html").get_attribute("lang") == "en"


def test_page__says_that_it_is_old(browser: Browser, tmp_path: Path) -> None:
    """A page from two hours ago says so on top; one from a minute ago, or its ages, count from now."""
    for hours, words in ((0.02, ""), (2.5, "This page is 2 h old"), (-1, "the clock here or there is wrong")):
        file = tmp_path / "status.html"
        made_at = dt.datetime.now(dt.UTC) - dt.timedelta(hours=hours)
        pages.write_page(build_report(1, 2, made_at=made_at), file)
        with opened(browser, file) as tab:
            assert tab.locator("#stale").is_visible() == bool(words)
            assert words in tab.locator("#stale").inner_text()
            if hours > 1:
                assert tab.locator("#all .age").first.inner_text() == "2 h ago"


def test_page__works_without_javascript(browser: Browser, report: tuple[Report, Path]) -> None:
    """Without JavaScript pages open and lead back, what needs it is not shown, and the age is left to the reader."""
    with opened(browser, report[1], script=False) as tab:
        assert not tab.locator("#tools").is_visible()
        assert "cannot tell how old it is" in tab.locator("noscript").inner_text()
        tab.locator("#all tbody th a").first.click()
        assert tab.locator("article:visible").count() == 1 and not tab.locator("#overview").is_visible()
        assert "earlier" in tab.locator("article:visible .ago").first.inner_text()
        tab.locator("article:visible .back a").first.click()
        assert tab.locator("#overview").is_visible()


def test_page__on_paper(browser: Browser, report: tuple[Report, Path]) -> None:
    """Printed from a dark screen it is dark on white, without what paper cannot do."""
    with opened(browser, report[1], scheme="dark") as tab:
        tab.emulate_media(media="print")
        assert tab.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert not tab.locator("#tools").is_visible() and tab.locator("#all").is_visible()
        assert tab.evaluate(FAINT) == []


def test_page__runs_nothing_from_outside(browser: Browser, tmp_path: Path) -> None:
    """Script, markup and links in names, errors, ids and reasons stay text; nothing runs, nothing is asked for."""
    hostile = " ".join(HOSTILE)
    file = tmp_path / "status.html"
    pages.write_page(build_report(2, 2, text=hostile, made_at=dt.datetime.now(dt.UTC)), file)
    with opened(browser, file) as tab:
        tab.locator("#all tbody th a").first.click()
        tab.locator("article:visible h1").hover()
        assert pages.show_text(hostile) in (tab.locator("article:visible .error").first.text_content() or "")
        assert tab.evaluate("window.hit") is None
        assert tab.locator("main script, main style, main img, main iframe, main svg[onload]").count() == 0


def test_page__policy_stops_what_would_slip_through(browser: Browser, tmp_path: Path) -> None:
    """Were a tag ever to get in, the policy would not run it: shown on a page into which one was written."""
    file = tmp_path / "status.html"
    pages.write_page(build_report(1, 1, made_at=dt.datetime.now(dt.UTC)), file)
    html = file.read_text(encoding="utf-8")
    assert html.count("<main>") == 1
    file.write_text(
        html.replace("<main>", "<main><script>window.hit = 1</script><b onclick='window.hit = 1'>x</b>")
    )
    tab = browser.new_page()
    tab.goto(file.as_uri())
    tab.locator("main b").click()
    assert tab.evaluate("window.hit") is None
    tab.close()


def test_status__page_of_a_real_store(way: Way, browser: Browser, tmp_path: Path) -> None:
    """From records to the page: what was loaded, published and refused is shown, places are drawn, and hostile names,
    errors and ids that reached the store stay text. A role that may only look is enough."""
    hostile = "</style><script>window.hit=1</script>"
    text = (way.config / "knack.py").read_text(encoding="utf-8")
    (way.config / "knack.py").write_text(
        text.replace('"description": "Work orders"', f'"description": "{hostile}"'), encoding="utf-8"
    )
    way.run("metadata_to_postgrest")
    record_id = min(way.source(SIGNALS))
    way.knack.edit_record("object_12", record_id, {way.city.key("object_12", "Signal Name"): "q" * 5000})
    way.load(SIGNALS)
    assert way.run("records_to_socrata", "-c", SIGNALS).code == 0
    assert way.run("records_to_agol", "-c", SIGNALS).code == 3
    way.stack.execute(
        "update api.rejects set record_id = %s, reason = %s", (hostile, f"signal_name: {hostile}")
    )
    way.stack.execute(
        "insert into api.runs (script, app, container, env, destination, status, error)"
        " values ('records_to_postgrest', %s, %s, 'prod', %s, 'failed', %s)",
        (APP, WORK_ORDERS, f"store:knack/x/{WORK_ORDERS}", f"Knack said {hostile}"),
    )
    file = tmp_path / "status.html"
    done = show(way, "--html", str(file), PGREST_ROLE="api_monitor")
    assert (done.code, done.summary["bad"], done.stdout.count("\n")) == (0, 1, 1), done.stderr
    assert "of 3 containers 1 need somebody now" in done.stderr
    assert "geometry" not in done.stderr
    with opened(browser, file, PHONE, "dark") as tab:
        alarm = tab.locator(".alarm").first
        assert WORK_ORDERS in alarm.inner_text() and hostile in alarm.inner_text()
        assert (
            f"python services/records_to_postgrest.py -a {APP} -c {WORK_ORDERS} -e prod" in alarm.inner_text()
        )
        tab.get_by_role("link", name=f"{APP}/{SIGNALS}").last.click()
        words = tab.locator("article:visible").inner_text()
        alive = len(way.source(SIGNALS))
        assert f"{alive} documents" in words and "1 refused" in words and f"of {alive} documents" in words
        assert tab.locator("article:visible .map path.dots").get_attribute("d").count("M") > 20  # type: ignore[union-attr]
        tab.get_by_text("Refused records: 1 of 1").click()
        assert hostile in tab.locator("article:visible .failures").last.inner_text()
        assert not is_wide(tab) and tab.evaluate("window.hit") is None
    assert "qqqq" not in file.read_text(encoding="utf-8")
