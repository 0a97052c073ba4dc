"""How a container is judged, and what becomes of it on the status page: words, charts, maps, HTML."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import os
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from services.utils.errors import ConfigError
from services.utils.ledger import PastRun
from services.utils.status import charts, judge, maps, page, view
from services.utils.status.cures import find_cure
from services.utils.status.report import ContainerReport, Report
from services.utils.status.table import build_table, show_text
from tests.statuses import HOSTILE, build_report, build_standing

NOON = dt.datetime(2026, 5, 4, 12, 0, tzinfo=dt.UTC)


def minutes(number: float) -> dt.timedelta:
    """So many minutes."""
    return dt.timedelta(minutes=number)


@pytest.mark.parametrize(
    ("when", "ago_min", "tone", "words"),
    [
        ("5m", 4, "good", "ok"),
        ("5m", 9, "good", "ok"),
        ("5m", 13, "warn", "late"),
        ("5m", 21, "bad", "overdue"),
        ("@daily", 11 * 60, "good", "ok"),
        ("@daily", 12 * 60 + 61, "warn", "late"),
        ("@daily", 23 * 60, "warn", "late"),
        ("@daily", 36 * 60 + 1, "bad", "overdue"),
        ("0 6 * * *", 24 * 60, "warn", "late"),
        ("", 90 * 24 * 60, "good", "ok"),
    ],
)
def test_judge__by_schedule(when: str, ago_min: int, tone: str, words: str) -> None:
    """Late after one missed run and some grace, overdue after two; without a schedule nothing is ever late."""
    standing = build_standing(last_done_at=NOON - minutes(ago_min))
    assert judge.judge(standing, when, NOON)[:2] == (tone, words)


@pytest.mark.parametrize(
    ("given", "tone", "words"),
    [
        ({"state": "failed", "failures": 1}, "bad", "failed"),
        ({"state": "failed", "failures": 3}, "bad", "failed 3 times in a row"),
        ({"state": "dead", "failures": 1}, "bad", "died"),
        ({"state": "running", "failures": 2}, "bad", "failed 2 times in a row, running again now"),
        ({"state": "running"}, "busy", "running"),
        ({"state": "partial", "open_rejects": 1200}, "warn", "1,200 refused"),
        ({"state": "stopped"}, "warn", "stopped before it was done"),
    ],
)
def test_judge__by_runs(given: dict[str, object], tone: str, words: str) -> None:
    """What failed or died needs somebody, also while it is tried again; what was refused can wait."""
    standing = build_standing(last_done_at=NOON - minutes(4), failing_since=NOON - minutes(30), **given)
    found = judge.judge(standing, "5m", NOON)
    assert found[:2] == (tone, words)
    if tone == "bad":
        assert found[2] == NOON - minutes(30)


def test_judge_full__finds_loads_that_are_missing() -> None:
    """A load of everything that two schedules have missed is told, and one that never was."""
    standing = build_standing(last_done_at=NOON, last_full_at=NOON - dt.timedelta(days=20))
    assert judge.judge_full(standing, "@weekly", NOON) is not None
    assert judge.judge_full(standing, "@monthly", NOON) is None
    assert judge.judge_full(build_standing(last_done_at=NOON), "@weekly", NOON) is not None


def test_build_command__is_one_for_a_shell() -> None:
    """Names that a shell would take apart are quoted."""
    command = judge.build_command("records_to_agol", "a; rm -rf /", "$(x)", "prod")
    assert command == "python services/records_to_agol.py -a 'a; rm -rf /' -c '$(x)' -e prod --since-last"
    command = judge.build_command("records_to_knack", "a", "object_1", "prod", "b")
    assert command == "python services/records_to_knack.py -a a -c object_1 -e prod -dest b --since-last"
    # Which app is not known: better no command than a wrong one.
    assert judge.build_command("records_to_knack", "a", "object_1", "prod") == ""
    assert judge.build_command("reconcile", "a", "c", "").endswith("reconcile.py -a a -c c --repair")


def test_advise__by_what_the_line_says() -> None:
    """A message of the table has its cure, a system that is away is to be waited for, a dead run is run again."""
    failed = build_standing(state="failed", failures=2)
    cure = judge.advise(
        failed, "failed 2 times in a row", "bad", "Socrata GET /x: 503 server error; gave up after 5 tries"
    )
    assert cure == judge.CURE_AWAY
    assert "row identifier" in judge.advise(
        failed, "failed", "bad", "the dataset has no row identifier. Nothing ..."
    )
    assert judge.advise(build_standing(state="dead", failures=1), "died", "bad", "") == judge.CURE_DEAD
    assert judge.advise(None, "never ran", "warn", "") == judge.CURE_NEVER
    assert judge.advise(build_standing(), "ok", "good", "") == ""


def test_find_cure__reads_messages_loosely() -> None:
    """Dots stand for anything and numbers for any other; a message that is not in the table has no cure."""
    found = find_cure(
        "data-tracker/object_31: 40 of 80 documents would be removed, more than 30 % of them. Nothing ..."
    )
    assert (
        found.startswith("The source gave far fewer records than before: ") and "`--max-delete-pct`" in found
    )
    assert find_cure("something that nobody has seen") == ""


def test_build_chart__a_bar_for_each_run() -> None:
    """Each run has a bar in its outcome's colour, the longest the tallest; what moved nothing has none below."""
    runs = [build_run(NOON, 2), build_run(NOON, 8, moved=5), build_run(NOON, 4, state="failed")]
    chart = charts.build_chart(runs, NOON, 5)
    bars = dict(chart.bars)
    assert {kind: path.count("z") for kind, path in bars.items()} == {"good": 2, "bad": 1}
    assert [int(height) for height in re.findall(r"v-(\d+)h", bars["good"])] == [11, 44]
    assert bars["bad"].startswith("M40 ") and chart.moved.count("z") == 1
    assert chart.words == "3 runs, 1 failed; the longest took 8.0 s, the most moved were 5 records"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.04, "0.0 s"), (59.6, "1 min"), (75, "1 min 15 s"), (7800, "2 h 10 min"), (97 * 3600, "4 d 1 h")],
)
def test_tell_length(seconds: float, words: str) -> None:
    """A length of time is told in its two greatest units."""
    assert charts.tell_length(seconds) == words


def test_draw__leaves_out_what_is_far_away() -> None:
    """Places that lie together fill the picture; one at zero and zero is counted, not drawn."""
    town = [[-97.7 + x / 1000, 30.2 + y / 1000] for x in range(20) for y in range(10)]
    drawing = maps.draw([*town, [0.0, 0.0]], [], 5000, 210, 201)
    assert drawing is not None
    assert (drawing.drawn, drawing.outside, drawing.alive, drawing.documents) == (200, 1, 5000, 210)
    assert len(drawing.points) == 200
    xs, ys = zip(*drawing.points)
    assert min(xs) == maps.MARGIN and max(xs) == maps.WIDTH - maps.MARGIN
    assert min(ys) >= maps.MARGIN and max(ys) <= drawing.height - maps.MARGIN
    # North is up, east is right.
    assert drawing.points[0] == (min(xs), min(ys))
    # 19 thousandths of a degree at 30 degrees north are 1.83 km.
    assert drawing.bar_m == 500
    assert drawing.bar_units == pytest.approx((maps.WIDTH - 2 * maps.MARGIN) * 0.5 / 1.828, rel=0.02)


def test_draw__one_place_and_none() -> None:
    """One place stands in the middle of some hundred meters; without a place there is no picture."""
    drawing = maps.draw([[10.0, 50.0]], [], 1, 1, 1)
    assert drawing is not None and len(drawing.points) == 1
    assert (
        abs(drawing.points[0][0] - maps.WIDTH / 2) <= 1
        and abs(drawing.points[0][1] - drawing.height / 2) <= 1
    )
    assert maps.draw([], [], 9, 9, 0) is None


def test_draw__lines_and_outlines() -> None:
    """Lines are paths; positions that fall together are one."""
    drawing = maps.draw([], [[[10.0, 50.0], [10.0, 50.0000001], [10.1, 50.1]]], 1, 1, 1)
    assert drawing is not None and (drawing.drawn, len(drawing.paths)) == (1, 1)
    assert drawing.paths[0].count("L") == 1


def test_show_text__hides_nothing() -> None:
    """What moves a terminal's cursor or turns text around is shown as what it is."""
    assert show_text("a\x1b[2Jb\u202ec\nd é 漢") == r"a\x1b[2Jb\u202ec\nd é 漢"
    report = build_report(1, 1)
    report.containers[0].lines[0].latest.error = "red \x1b[31m"  # type: ignore[union-attr]
    assert not [line for line in build_table(report, rejects=True) if "\x1b" in line]


class Shape(HTMLParser):
    """The tags and attribute names of a page, and what stands in them."""

    def __init__(self, html: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[str, ...]]] = []
        self.links: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note a tag."""
        given = dict(attrs)
        self.tags.append((tag, tuple(name for name, _ in attrs)))
        self.links += [given[name] or "" for name in ("href", "src", "action", "xlink:href") if name in given]
        self.ids += [given["id"] or ""] if "id" in given else []

    def handle_data(self, data: str) -> None:
        """Note a text."""
        self.texts.append(data)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_render_page__text_stays_text(hostile: str) -> None:
    """Whatever names, errors, record ids and reasons hold, the page has the same tags and attributes, no more."""
    tame = Shape(page.render_page(build_report(3, 4, text="tame")))
    wild = Shape(page.render_page(build_report(3, 4, text=hostile)))
    assert wild.tags == tame.tags
    shown = show_text(hostile)
    assert sum(shown in text for text in wild.texts) == sum("tame" in text for text in tame.texts) > 20
    assert {link[0] for link in wild.links} == {"#", "d"}
    assert [link for link in wild.links if link[0] == "d"] == ["data:,"]
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", name) for name in wild.ids)
    assert {link[1:] for link in wild.links if link[0] == "#"} <= set(wild.ids)


def test_render_page__policy_names_the_only_script_and_style() -> None:
    """The policy allows nothing but the page's own script and style, by their hashes; no tag has either in it."""
    html = page.render_page(build_report(2, 3))
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', html)
    assert policy
    for tag in ("script", "style"):
        found = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(found[0].encode()).digest()).decode()
        assert len(found) == 1
        assert f"{tag}-src &#39;sha256-{digest}&#39;" in policy[1]
    assert policy[1].startswith("default-src &#39;none&#39;")
    assert not re.search(r"<[^>]+ (style|on\w+)=", html)


def test_render_page__the_worst_first() -> None:
    """What failed longest stands first, with its line, its cure and its command; one cause of many is told once."""
    report = build_report(6, 3)
    for number, one in enumerate(report.containers[:4]):
        line = one.lines[1]
        line.tone, line.words, one.tone = "bad", "failed 2 times in a row", "bad"
        line.since = report.made_at - minutes(90 - number)
        assert line.latest
        line.latest.failures, line.latest.error = (
            2,
            f"{one.name}: Socrata did not answer in {number + 3} tries.",
        )
    first = report.containers[5]
    first.lines[0].tone, first.lines[0].words, first.tone = "bad", "overdue", "bad"
    first.lines[0].since = report.made_at - minutes(500)
    alarms = view.build_view(report).alarms
    assert [(alarm.words, len(alarm.leaves)) for alarm in alarms[:2]] == [("overdue", 1), ("failed", 4)]
    assert alarms[1].since == report.made_at - minutes(90)


def test_render_page__nothing_has_run() -> None:
    """A page of an empty ledger says so."""
    assert "Nothing has run yet" in page.render_page(Report(NOON, "", []))


def test_render_page__many_containers_stay_small() -> None:
    """200 containers with 50 runs each of every script make a page of a few MB."""
    assert len(page.render_page(build_report(200, 50))) < 5_000_000


def test_build_slug__is_its_own() -> None:
    """A container's place in the page is the same each time and no other's, whatever its name is."""
    names = [("a", "b/c"), ("a/b", "c"), ("é", "é"), ("a", ""), ("", ""), ("a", "b c"), ("a", "b-c")]
    slugs = [view.build_slug(ContainerReport(app, name, "prod")) for app, name in names]
    assert len(set(slugs)) == len(names)
    assert slugs == [view.build_slug(ContainerReport(app, name, "prod")) for app, name in names]


def test_write_page__whole_or_not_at_all(tmp_path: Path) -> None:
    """On a full disk the page from before stays, and nothing else is left; then the new one takes its place."""
    target = tmp_path / "status.html"
    target.write_text("before")
    code = (
        "import resource, signal, sys; from pathlib import Path; from tests.statuses import build_report\n"
        "from services.utils.status import page\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))\n"
        "page.write_page(build_report(9, 9), Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1 and "What was there before is untouched" in done.stderr
    assert os.listdir(tmp_path) == ["status.html"] and target.read_text() == "before"
    with target.open() as reader:
        page.write_page(build_report(1, 1), target)
        # Who has it open reads on in the page from before.
        assert reader.read() == "before"
    assert os.listdir(tmp_path) == ["status.html"] and target.read_text().startswith("<!doctype html>")
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE(target.stat().st_mode) == 0o666 & ~mask


def test_check_path__says_what_is_wrong(tmp_path: Path) -> None:
    """A folder, a device and a folder that is not there are refused before anything is read; links are followed."""
    for path in (tmp_path, Path("/dev/null"), tmp_path / "nowhere" / "status.html"):
        with pytest.raises(ConfigError, match="Nothing was read or written"):
            page.check_path(path)
    (tmp_path / "link.html").symlink_to(tmp_path / "real.html")
    assert page.check_path(tmp_path / "link.html") == tmp_path / "real.html"


def build_run(at: dt.datetime, seconds: float, state: str = "ok", moved: int = 0) -> PastRun:
    """One run."""
    return PastRun(state, at, at + dt.timedelta(seconds=seconds), at, 9, moved, 0, 0, 0, 0, None)
