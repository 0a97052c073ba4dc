"""The page's words: what a report says, in the order in which somebody who was woken needs it."""

from __future__ import annotations

import datetime as dt
import hashlib
import re
from dataclasses import dataclass, field
from typing import Any

from services.utils.ledger import PastRun
from services.utils.status.charts import Chart, build_chart, measure_s, tell_length
from services.utils.status.report import TONES, ContainerReport, Line, Report

_TITLES = {
    "metadata_to_postgrest": "Metadata",
    "records_to_postgrest": "Load into the store",
    "records_to_socrata": "Publish to Socrata",
    "records_to_agol": "Publish to ArcGIS Online",
    "records_to_knack": "Copy to another Knack app",
    "attachments_to_s3": "Media to S3",
    "purge_tombstones": "Purge of tombstones",
    "reconcile": "Repair of what differed",
}
_SHORT = {"records_to_socrata": "Socrata", "records_to_agol": "ArcGIS", "records_to_knack": "Knack"}
_PLACES = {"source": "Source", "store": "Store", "socrata": "Socrata", "agol": "ArcGIS Online"}
_TOTAL_WORDS = {
    "bad": "to act on now",
    "warn": "to look at by day",
    "busy": "at work",
    "good": "in order",
    "idle": "with nothing to say",
}
TONE_WORDS = {
    "bad": "Act now",
    "warn": "Look at it",
    "busy": "At work",
    "good": "In order",
    "idle": "Nothing to say",
}
_SLOTS, _FEWEST_SLOTS, _SPARK_SLOTS, _RUNS_TOLD = 30, 12, 14, 8
# One cause often stops many containers: so many with the same line are told as one.
_TOGETHER = 3


@dataclass
class Piece:
    """One line of a container, with its chart."""

    line: Line
    title: str
    short: str
    chart: Chart | None
    facts: list[tuple[str, Any, str]]
    failures: list[PastRun]
    told: list[tuple[PastRun, str]]


@dataclass
class Leaf:
    """One container's page."""

    one: ContainerReport
    slug: str
    worst: Line | None
    worst_title: str
    load: Line | None
    spark: Chart | None
    refused: int
    pieces: list[Piece]
    counts: list[tuple[str, Any]]

    @property
    def has_publishers(self) -> bool:
        """Whether it is published anywhere."""
        return any(piece.short for piece in self.pieces)


@dataclass
class Alarm:
    """Something to act on or to look at: one line of one container, or the same of many."""

    tone: str
    title: str
    words: str
    since: dt.datetime | None
    error: str
    cure: str
    command: str
    # What readers of the destination see meanwhile.
    delivered: dt.datetime | None
    leaves: list[Leaf] = field(default_factory=list)


@dataclass
class View:
    """All that the template prints."""

    report: Report
    verdict: str
    tone: str
    alarms: list[Alarm]
    leaves: list[Leaf]
    tone_words: dict[str, str]
    totals: list[tuple[str, str, int]]


def build_view(report: Report) -> View:
    """Everything in the page's order: alarms worst first and oldest first, containers worst first and by name."""
    leaves = [_build_leaf(one, report.made_at) for one in report.containers]
    leaves.sort(key=lambda leaf: (TONES.index(leaf.one.tone), leaf.one.app, leaf.one.container, leaf.one.env))
    totals = [(tone, _TOTAL_WORDS[tone], report.count(tone)) for tone in TONES]
    tone = next((tone for tone, _, count in totals if count and tone != "idle"), "idle")
    return View(
        report,
        _tell_verdict(report),
        tone,
        _find_alarms(leaves),
        leaves,
        TONE_WORDS,
        [t for t in totals if t[2]],
    )


def _tell_verdict(report: Report) -> str:
    bad, warn, all_ = report.count("bad"), report.count("warn"), len(report.containers)
    if not all_:
        return "Nothing has run yet"
    if bad:
        return "1 container needs you" if bad == 1 else f"{bad:,} containers need you"
    if warn:
        return f"Nobody needs to get up; {warn:,} of {all_:,} to look at by day"
    return "All is in order" if all_ > 1 else "It is in order"


def _build_leaf(one: ContainerReport, now: dt.datetime) -> Leaf:
    worst = min(one.lines, key=lambda line: TONES.index(line.tone), default=None)
    load = next((line for line in one.lines if line.script == "records_to_postgrest"), None)
    drawn = load or next(iter(one.lines), None)
    return Leaf(
        one=one,
        slug=build_slug(one),
        worst=worst,
        worst_title=_TITLES.get(worst.script, worst.script) if worst else "",
        load=load,
        spark=build_chart(drawn.runs, now, _SPARK_SLOTS) if drawn and drawn.runs else None,
        refused=sum(
            {line.destination: line.latest.open_rejects for line in one.lines if line.latest}.values()
        ),
        pieces=[_build_piece(line, now) for line in sorted(one.lines, key=lambda line: line.tone != "bad")],
        counts=[(_PLACES.get(count.place, count.place), count) for count in one.counts],
    )


def build_slug(one: ContainerReport) -> str:
    """A container's place in the page: the same in every page, whatever its names hold."""
    names = "\0".join((one.app, one.container, one.env))
    kept = re.sub("[^A-Za-z0-9_]+", "-", names).strip("-")[:60]
    return f"c-{kept}-{hashlib.sha256(names.encode()).hexdigest()[:6]}"


def _build_piece(line: Line, now: dt.datetime) -> Piece:
    latest = line.latest
    facts: list[tuple[str, Any, str]] = []
    if latest is not None:
        facts.append(
            ("Last done", latest.last_done_at, "time") if latest.last_done_at else ("Last done", "never", "")
        )
        if line.schedule:
            facts.append(("Schedule", line.schedule, "code"))
        if line.expected_at:
            facts.append(("Next due" if line.expected_at > now else "Was due", line.expected_at, "time"))
        if line.script in _SHORT:
            if latest.watermark:
                facts.append(("Delivered up to", latest.watermark, "time"))
            else:
                facts.append(("Delivered up to", "never everything", ""))
            if line.waiting is not None:
                facts.append(_tell_waiting(line))
        if latest.last_full_at:
            facts.append(("Last run over everything", latest.last_full_at, "time"))
        if latest.open_rejects:
            facts.append(("Refused now", latest.open_rejects, ""))
    return Piece(
        line=line,
        title=_TITLES.get(line.script, line.script),
        short=_SHORT.get(line.script, ""),
        chart=build_chart(line.runs, now, min(_SLOTS, max(_FEWEST_SLOTS, len(line.runs))))
        if line.runs
        else None,
        facts=facts,
        failures=[run for run in reversed(line.runs) if run.error][:5],
        told=[(run, tell_length(measure_s(run, now))) for run in reversed(line.runs)][:_RUNS_TOLD],
    )


def _tell_waiting(line: Line) -> tuple[str, Any, str]:
    if not line.waiting:
        return ("Waiting for it", "nothing: it has all that the store has", "")
    documents = "1 document" if line.waiting == 1 else f"{line.waiting:,} documents"
    return (f"Waiting for it: {documents}, since", line.waiting_since, "time")


def _find_alarms(leaves: list[Leaf]) -> list[Alarm]:
    """Every line that is not in order; those of many containers with one and the same cause are one."""
    alike: dict[tuple[str, ...], list[tuple[Leaf, Line]]] = {}
    for leaf in leaves:
        for line in leaf.one.lines:
            if line.tone in ("bad", "warn"):
                alike.setdefault(_find_cause(leaf.one, line), []).append((leaf, line))
        if leaf.one.is_wrong:
            alike.setdefault(("note", leaf.slug), []).append(
                (leaf, Line("", "", "warn", "its configuration is not right"))
            )
    alarms = []
    for found in alike.values():
        if len(found) >= _TOGETHER:
            alarms.append(_build_alarm(found))
        else:
            alarms += [_build_alarm([one]) for one in found]
    far = dt.datetime.max.replace(tzinfo=dt.UTC)
    return sorted(alarms, key=lambda alarm: (TONES.index(alarm.tone), alarm.since or far, alarm.title))


def _find_cause(one: ContainerReport, line: Line) -> tuple[str, ...]:
    """What is the same where many containers fail for one reason: the error without names and numbers."""
    error = line.error
    for name in (one.name, one.container, one.container_id, line.destination.rpartition("/")[2]):
        error = error.replace(name, "#") if name else error
    words = line.words if not line.latest or not line.latest.failures else "failed"
    return line.tone, line.script, re.sub(r"\d+", "#", words), re.sub(r"[0-9a-f]*\d[0-9a-f.]*", "#", error)


def _build_alarm(found: list[tuple[Leaf, Line]]) -> Alarm:
    leaf, line = found[0]
    since = [other.since for _, other in found if other.since]
    return Alarm(
        tone=line.tone,
        title=_TITLES.get(line.script, line.script) or "Configuration",
        words=line.words if len(found) == 1 else re.sub(" [0-9]+ times.*", "", line.words),
        since=min(since, default=None),
        error=line.error if line.script else leaf.one.note,
        cure=line.cure,
        command=line.command,
        delivered=line.latest.watermark
        if line.latest and line.script in _SHORT and len(found) == 1
        else None,
        leaves=[other for other, _ in found],
    )
