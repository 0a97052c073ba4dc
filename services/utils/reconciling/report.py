"""All places of a container compared, repaired where that is wished, and told to people."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from services.utils import ledger, loading, runs
from services.utils.cli import Args, Summary
from services.utils.differences import KINDS, Differences
from services.utils.errors import ConfigError, ServiceError
from services.utils.postgrest import PostgREST
from services.utils.reconciling.places import Place, StorePlace, repair
from services.utils.records import Counts

log = logging.getLogger(__name__)

_COLUMNS = ("place", "count", *KINDS, "refused")


@dataclass
class Finding:
    """One place as it was found.

    held: records there. others: those of them that are somebody else's. refused: records that it does not take.
    moving: records that changed meanwhile. ids: the first ones of each kind. error: why it could not be compared.
    """

    place: str
    destination: str
    held: int = 0
    others: int = 0
    missing: int = 0
    extra: int = 0
    differing: int = 0
    refused: int = 0
    moving: int = 0
    ids: dict[str, list[str]] = field(default_factory=dict)
    record_ids: list[str] = field(default_factory=list)
    error: ServiceError | None = None

    @property
    def differs(self) -> int:
        """How many records differ."""
        return self.missing + self.extra + self.differing


@dataclass
class Report:
    """What was found. repaired: what repairs did; failed: the errors of repairs, and of places."""

    source: Finding | None
    findings: list[Finding]
    repaired: Counts = field(default_factory=Counts)
    failed: list[ServiceError] = field(default_factory=list)

    @property
    def differs(self) -> int:
        """How many records differ, in all places."""
        return sum(finding.differs for finding in self.findings)

    def fail(self, summary: Summary) -> ServiceError:
        """The error that the process should end with, a failure before a wrong setting; the others are logged."""
        first, *others = sorted(self.failed, key=lambda error: isinstance(error, ConfigError))
        for error in others:
            log.error("%s", error)
        summary.status = "failed"
        first.summary = summary  # type: ignore[attr-defined]
        return first

    def numbers(self) -> dict[str, int]:
        """The counts by name, for the summary line."""
        found = {"source_count": self.source.held} if self.source else {}
        for one in self.findings:
            if one.error is None:
                found[f"{one.place}_count"] = one.held
                found.update({f"{one.place}_{kind}": getattr(one, kind) for kind in (*KINDS, "refused")})
        return found

    def lines(self) -> Iterator[str]:
        """A table for people, with the first ids of what differs; ids only, never content."""
        rows: list[tuple[str, ...]] = [_COLUMNS]
        if self.source:
            rows.append(("source", f"{self.source.held:,}", "", "", "", ""))
        for one in self.findings:
            numbers = (one.held, one.missing, one.extra, one.differing, one.refused)
            shown = ("not known", "", "", "", "") if one.error else tuple(f"{n:,}" for n in numbers)
            rows.append((one.place, *shown))
        widths = [max(map(len, column)) for column in zip(*rows)]
        for row in rows:
            cells = [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
            yield "  ".join([row[0].ljust(widths[0]), *cells]).rstrip()
        for one in self.findings:
            yield from _describe(one)

    def describe(self, where: str, script: str) -> str:
        """The outcome in one line."""
        places = ", ".join(one.place for one in self.findings if one.error is None)
        mended = self.repaired.inserted + self.repaired.updated + self.repaired.deleted
        did = f"; {mended} repaired" if mended else ""
        if self.differs:
            return f"{script} {where}: {self.differs} records differ in {places}{did}"
        return f"{script} {where}: {places or 'nothing'} compared, no record differs{did}"


def reconcile(places: Sequence[Place], args: Args, *, shown: int, mend: bool) -> Iterator[Report]:
    """Compare all places; the report. mend: then repair what differs, compare again, and give that report too.

    A place that cannot be compared or repaired does not keep the others from it.
    """
    before = Report(None, [])
    _compare(places, before, shown)
    yield before
    if not (mend and before.differs):
        _keep(places, before)
        if mend:
            _settle(places, before, args)
        return
    after = Report(None, [])
    changed = False
    for place, finding in zip(places, before.findings):
        # What the store has new, every destination lacks now.
        if finding.error is not None or not (finding.differs or changed):
            continue
        try:
            counts = repair(place, finding.record_ids)
        except ServiceError as error:
            log.info("%s was not repaired", place.destination)
            after.failed.append(error)
            continue
        changed = changed or place.name == StorePlace.name
        after.repaired.add(counts)
    _compare(places, after, shown)
    _keep(places, after)
    _settle(places, after, args)
    yield after


def _settle(places: Sequence[Place], report: Report, args: Args) -> None:
    """Where a repair had failed and everything agrees now, let the ledger say so."""
    try:
        standings = ledger.read_standings(
            places[0].store.postgrest, app=args.app_name, container=args.container, env=args.env
        )
        unsettled = {
            standing.destination
            for standing in standings
            if standing.script == args.script and standing.state not in ("ok", "partial", "running")
        }
        for place, finding in zip(places, report.findings):
            if place.destination in unsettled and finding.error is None and not finding.differs:
                with runs.record_run(place.store.postgrest, args, place.destination) as run:
                    run.moves_watermark = run.sees_all = False
                    run.counts = Counts(read=finding.held, unchanged=finding.held)
    except ServiceError as error:
        log.warning("the ledger does not know that an earlier repair is done: %s", error)


def _compare(places: Sequence[Place], report: Report, shown: int) -> None:
    for place in places:
        log.info("comparing %s", place.destination)
        finding = Finding(place.name, place.destination)
        report.findings.append(finding)
        try:
            _look(place, finding, shown)
        except ServiceError as error:
            log.info("%s could not be compared", place.destination)
            finding.error = error
            report.failed.append(error)
            continue
        if isinstance(place, StorePlace):
            report.source = Finding("source", place.source, held=place.records)


def _look(place: Place, finding: Finding, shown: int) -> None:
    differences = Differences()
    place.moving = 0
    try:
        place.compare(differences)
        finding.held, finding.others, finding.moving = differences.held, differences.others, place.moving
        refused = set(place.refused)
        if differences.total:
            found = ledger.read_open_rejects(place.store.postgrest, place.destination)
            refused |= {reject.record_id for reject in found}
        told = set(place.refused)
        for one in differences.take():
            if (one.record_id or one.key) in refused:
                told.add(one.record_id or one.key)
                continue
            setattr(finding, one.kind, getattr(finding, one.kind) + 1)
            ids = finding.ids.setdefault(one.kind, [])
            if len(ids) < shown:
                ids.append(one.key)
            # Enough to see that there are too many to ask for one by one.
            if len(finding.record_ids) <= loading.LOOK_AGAIN_MOST:
                finding.record_ids.append(one.record_id or one.key)
        finding.refused = len(told)
    finally:
        differences.close()


def _describe(one: Finding) -> Iterator[str]:
    if one.error is not None:
        yield f"{one.place} could not be compared: {one.error}"
    for kind in KINDS:
        ids = one.ids.get(kind, [])
        if ids:
            more = getattr(one, kind) - len(ids)
            yield f"{one.place} {kind}: {', '.join(ids)}" + (f", and {more:,} more" if more else "")
    if one.others:
        yield f"{one.place}: {one.others:,} of the rows are of others"
    if one.moving:
        yield f"{one.place}: {one.moving:,} records changed meanwhile; the next publish brings them"


def _keep(places: Sequence[Place], report: Report) -> None:
    """Keep the counts for people to look at; the comparison stands without that."""
    found = [*([report.source] if report.source else []), *report.findings]
    place = places[0]
    now = dt.datetime.now(dt.UTC)
    counts = [
        ledger.PlaceCount(
            place.container.app,
            place.container.id,
            place.container.env,
            one.place,
            one.destination,
            one.held,
            now,
            one.missing,
            one.extra,
            one.differing,
            one.refused,
        )
        for one in found
        if one.error is None
    ]
    store: PostgREST = place.store.postgrest
    try:
        ledger.keep_counts(store, counts)
    except ServiceError as error:
        log.warning("the counts were not kept for status.py: %s", error)
