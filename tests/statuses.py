"""Reports for tests of the status page, made up: no store is needed."""

from __future__ import annotations

import datetime as dt

from services.utils.ledger import OpenReject, PastRun, PlaceCount, Standing
from services.utils.status import maps
from services.utils.status.report import ContainerReport, Line, Report

# What somebody might write into a record, a name or a server's answer to get into the page.
HOSTILE = (
    "<script>window.hit=1</script>",
    '"onload="window.hit=1" x="',
    "' onmouseover='window.hit=1",
    "</style><img src=x onerror=window.hit=1>",
    "</script><svg/onload=window.hit=1>",
    "javascript:window.hit=1",
    "<!-- --><iframe src=//example.org>",
    "&lt;b&gt; &amp; {{ 7*7 }} {% x %}",
    "`<b>` \u202eturned\u2028\x1b[31m",
    "]]><style>*{display:none}</style>",
)


def build_standing(**given: object) -> Standing:
    """A latest run that ended ok, or as `given` says."""
    at = dt.datetime(2026, 5, 4, 11, 55, tzinfo=dt.UTC)
    return Standing(
        **{
            "script": "records_to_agol",
            "destination": "agol:x/layer/0",
            "state": "ok",
            "started_at": at,
            **given,
        }
    )


def build_report(containers: int, runs: int, *, text: str = "", made_at: dt.datetime | None = None) -> Report:
    """So many containers with so many runs of three scripts; text: stands wherever a text from outside may stand."""
    made_at = made_at or dt.datetime(2026, 5, 4, 12, 0, 30, tzinfo=dt.UTC)
    found = []
    for number in range(containers):
        name = f"object_{number}{text}"
        one = ContainerReport(
            f"city{text}",
            name,
            f"prod{text}",
            description=text or "Traffic signals",
            note=text and f"wrong: {text}",
            schedule="changes 5m",
            source="knack",
            container_id=name,
            alive=1234,
            tombstones=5,
            changed_at=made_at,
            full_at=made_at - dt.timedelta(days=3),
            full_read=1230,
        )
        for script, target in (
            ("records_to_postgrest", "store:knack/x"),
            ("records_to_socrata", "socrata:data.example.org"),
            ("records_to_agol", "agol:0123"),
        ):
            one.lines.append(_build_line(script, f"{target}/{name}", runs, text, made_at))
        one.counts = [PlaceCount(one.app, name, "prod", "store", text, 1234, made_at, missing=2)]
        one.drawing = maps.draw(
            [[-97.7 + x / 500, 30.2 + y / 300] for x in range(7) for y in range(7)],
            [[[-97.7, 30.2], [-97.69, 30.21]]],
            1234,
            50,
            50,
        )
        one.tone = "warn" if text else "good"
        found.append(one)
    return Report(made_at, text, found)


def _build_line(script: str, destination: str, count: int, text: str, made_at: dt.datetime) -> Line:
    runs = []
    for number in range(count, 0, -1):
        at = made_at - dt.timedelta(minutes=5 * number)
        state = "failed" if text or number % 7 == 6 else "ok"
        error = f"it failed: {text or 'who knows'}" if state == "failed" else None
        runs.append(
            PastRun(state, at, at + dt.timedelta(seconds=2 + number % 5), at, 99, 1, number, 9, 0, 0, error)
        )
    standing = build_standing(
        script=script,
        destination=destination,
        started_at=runs[-1].started_at,
        state="partial" if text else "ok",
        error=text and f"the latest: {text}",
        last_done_at=made_at - dt.timedelta(minutes=4),
        watermark=made_at - dt.timedelta(minutes=4),
        open_rejects=40 if text else 0,
    )
    line = Line(script, destination, "warn" if text else "good", text or "ok", made_at, schedule="5m")
    line.latest, line.runs, line.waiting = standing, runs, 3 if text else 0
    line.waiting_since = made_at if text else None
    line.cure, line.command = ("run `it` again", f"python {text}") if text else ("", "")
    if text:
        line.rejects = [OpenReject(destination, text, f"field {text}: too long", made_at)]
    return line
