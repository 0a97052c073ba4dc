"""What the status page says, as data: the same for the table, the JSON document and the page. All times are aware."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec

from services.utils.cli import Summary
from services.utils.ledger import OpenReject, PastRun, PlaceCount, Standing
from services.utils.records import Counts

# How a thing stands, the worst first: somebody must act; look at it by day; at work; in order; nothing to say.
TONES = ("bad", "warn", "busy", "good", "idle")
# A container that has run, of which the configuration that was read says nothing: perhaps another machine's does.
NOT_CONFIGURED = "It is not in the configuration that was read: only its ages are shown."


class Line(msgspec.Struct):
    """One script on one container and destination.

    words: how it stands, in a few words; since: since when it stands so; cure: what to do, and command: what to run,
    both "" where nothing is to be done. expected_at: when a run is (or was) due. waiting: documents that have changed
    since the destination's watermark, the first of them at waiting_since; None for what is no destination, or where
    that is not known. runs: the latest ones, oldest first. rejects: the first of open_rejects.
    """

    script: str
    destination: str
    tone: str
    words: str
    since: dt.datetime | None = None
    cure: str = ""
    command: str = ""
    schedule: str = ""
    expected_at: dt.datetime | None = None
    waiting: int | None = None
    waiting_since: dt.datetime | None = None
    # None: it is configured, and has never run.
    latest: Standing | None = None
    runs: list[PastRun] = []
    rejects: list[OpenReject] = []

    @property
    def error(self) -> str:
        """Why the latest run failed, or the last one that did of those in a row, in one line; "" if none did."""
        if self.latest is None:
            return ""
        if self.latest.error:
            return self.latest.error
        if self.latest.failures:
            return next((run.error for run in reversed(self.runs) if run.error), "")
        return ""


class Drawing(msgspec.Struct):
    """A preview of a container's places: a picture of `width` x `height` units, and what it leaves out.

    points: (x, y). paths: SVG path data of lines and outlines. documents: that were looked at, of `alive`;
    with_place: of these, that have a place; drawn: places in the picture, those that fall together counted each;
    outside: places too far away to be in it. west .. north: its edges in degrees (WGS84). bar_units: the length of the
    scale bar, which stands for bar_m meters.
    """

    width: int
    height: int
    points: list[tuple[int, int]]
    paths: list[str]
    alive: int
    documents: int
    with_place: int
    drawn: int
    outside: int
    west: float
    south: float
    east: float
    north: float
    bar_units: float
    bar_m: int

    @property
    def dots(self) -> str:
        """The points as SVG path data: lines without a length, which a round cap shows as dots."""
        return "".join(f"M{x} {y}h0" for x, y in self.points)


class ContainerReport(msgspec.Struct):
    """One container in one environment; container "" is the app itself (its metadata).

    alive, tombstones, changed_at: of the documents in the store, None where the store's place is not known. counts:
    what each place held when they were last compared. full_at, full_read: the last load of everything, and how many
    records the source had then. note: why its settings are not known, "" where they are.
    """

    app: str
    container: str
    env: str
    tone: str = "idle"
    description: str = ""
    note: str = ""
    schedule: str = ""
    source: str = ""
    app_id: str = ""
    container_id: str = ""
    alive: int | None = None
    tombstones: int | None = None
    changed_at: dt.datetime | None = None
    full_at: dt.datetime | None = None
    full_read: int | None = None
    counts: list[PlaceCount] = []
    lines: list[Line] = []
    drawing: Drawing | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether it is configured, but not rightly."""
        return self.note not in ("", NOT_CONFIGURED)

    @property
    def name(self) -> str:
        """app/container, as messages name it."""
        return "/".join(filter(None, [self.app, self.container])) or "(no name)"


class Report(msgspec.Struct):
    """How everything stands. note: why schedules are not known; "" where the configuration was read."""

    made_at: dt.datetime
    note: str
    containers: list[ContainerReport]

    def count(self, tone: str) -> int:
        """How many containers stand like this."""
        return sum(one.tone == tone for one in self.containers)


def find_worst(tones: list[str]) -> str:
    """The worst of some tones; "idle" of none."""
    return min(tones, key=TONES.index, default="idle")


def to_json(report: Report) -> list[dict[str, Any]]:
    """The containers as plain lists and dicts; times are ISO-8601. Pictures are the page's alone."""
    found = msgspec.to_builtins(report.containers)
    for one, plain in zip(report.containers, found):
        plain.pop("drawing")
        for line, told in zip(one.lines, plain["lines"]):
            told["runs"] = [msgspec.structs.asdict(run) for run in line.runs]
    return msgspec.to_builtins(found)


def summarise(report: Report, *, whole: bool) -> Summary:
    """What the last line of stdout says; whole: with everything in it, so that stdout is one JSON document."""
    standings = [line.latest for one in report.containers for line in one.lines if line.latest]
    more: dict[str, Any] = {"bad": report.count("bad"), "warn": report.count("warn")}
    if whole:
        more |= {"made_at": report.made_at.isoformat(), "note": report.note, "containers": to_json(report)}
    counts = Counts(read=len(standings), rejected=sum(one.open_rejects for one in standings))
    told = f"of {len(report.containers)} containers {more['bad']} need somebody now, {more['warn']} by day"
    return Summary(counts=counts, more=more, told=f"status: {told}")
