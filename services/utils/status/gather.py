"""Gathers what the status page says: from the ledger, the store, and the configuration where there is one."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, NamedTuple

from services.utils import ledger
from services.utils.containers import SYSTEMS, Container, find_container, name_nearest
from services.utils.errors import ConfigError
from services.utils.ledger import Standing
from services.utils.postgrest import PostgREST
from services.utils.schedules import Schedule
from services.utils.status import judge
from services.utils.status.report import NOT_CONFIGURED, ContainerReport, Line, Report, find_worst

log = logging.getLogger(__name__)

Config = Mapping[str, Mapping[str, Mapping[str, Any]]]

# So many runs make a chart that can be read, and so many rejects a list.
MOST_RUNS = 30
MOST_REJECTS = 20
_PUBLISHERS = ("records_to_socrata", "records_to_agol", "records_to_knack")


class Wanted(NamedTuple):
    """What to look at: "" for all. default_env: of containers that are configured and never ran."""

    app: str = ""
    container: str = ""
    env: str = ""
    default_env: str = "prod"


class _Key(NamedTuple):
    app: str
    container: str
    env: str


class _Place(NamedTuple):
    source: str
    app_id: str
    container_id: str


def gather(
    postgrest: PostgREST,
    config: Config | None,
    note: str,
    wanted: Wanted,
    now: dt.datetime,
    *,
    all_rejects: bool = False,
    draw: bool = False,
) -> Report:
    """How everything stands.

    Args:
        config: None where it could not be read; note: why, in a line.
        all_rejects: every record that is refused, not the first few of each destination.
        draw: previews of places too, which cost reading some documents of each container.
    Raises: StoreError if the store does not answer or the role may not read it; ConfigError if an app or container
        is named that is neither configured nor in the ledger.
    """
    narrowed = {"app": wanted.app, "container": wanted.container, "env": wanted.env}
    standings = ledger.read_standings(postgrest, **narrowed)
    runs = {
        (one.script, one.app, one.container, one.env, one.destination): one.runs
        for one in ledger.read_recent_runs(postgrest, MOST_RUNS, **narrowed)
    }
    by_key: dict[_Key, list[Standing]] = {}
    for standing in standings:
        key = _Key(standing.app or "", standing.container or "", standing.env or "")
        by_key.setdefault(key, []).append(standing)
    for key in _list_configured(config or {}, wanted):
        by_key.setdefault(key, [])
    if not by_key and (wanted.app or wanted.container):
        raise ConfigError(_tell_unknown(config or {}, wanted))
    app_schedules = _find_app_schedules(config or {})
    settings = {key: _find_settings(config, key) for key in by_key} if config is not None else {}
    reports = {
        key: _build_container(key, of_key, settings.get(key, ""), app_schedules.get(key.app), now)
        for key, of_key in by_key.items()
    }
    found = sorted(reports.values(), key=lambda one: (one.app, one.container, one.env))
    configured = [(reports[key], one) for key, one in settings.items() if isinstance(one, Container)]
    _place_repeats(configured, found)
    for key, one in reports.items():
        for line in one.lines:
            line.runs = runs.get((line.script, one.app, one.container, one.env, line.destination), [])
            _finish(line, one, postgrest, all_rejects, _find_dest(line, settings.get(key)))
    _count_store(postgrest, found)
    for count in ledger.read_counts(postgrest, **narrowed):
        for one in found:
            if (one.app, one.container, one.env) == (count.app, count.container, count.env):
                one.counts.append(count)
    if draw:
        from services.utils.status import maps

        maps.draw_all(postgrest, configured)
    return Report(now, note, found)


def _tell_unknown(config: Config, wanted: Wanted) -> str:
    apps = {app: names for system in SYSTEMS for app, names in config.get(system, {}).items()}
    if wanted.app and wanted.app not in apps:
        what, near = f"app {wanted.app!r}", name_nearest(wanted.app, apps)
    else:
        known = apps[wanted.app] if wanted.app else {name for names in apps.values() for name in names}
        what, near = f"container {wanted.container!r}", name_nearest(wanted.container, known)
    return f"The {what} is neither configured nor in the ledger{near}. Nothing was shown."


def _list_configured(config: Config, wanted: Wanted) -> Iterable[_Key]:
    env = wanted.env or wanted.default_env
    for system in SYSTEMS:
        for app, containers in config.get(system, {}).items():
            for container in containers:
                if wanted.app in ("", app) and wanted.container in ("", container):
                    yield _Key(app, container, env)


def _find_app_schedules(config: Config) -> dict[str, Schedule]:
    """The schedule by which an app's metadata is loaded: that of the first of its containers that has one."""
    found: dict[str, Schedule] = {}
    for system in SYSTEMS:
        for app, containers in config.get(system, {}).items():
            for name in containers:
                try:
                    schedule = find_container(config, app, name, "prod", SYSTEMS).schedule
                except ConfigError:
                    continue
                if schedule is not None:
                    found.setdefault(app, schedule)
    return found


def _find_settings(config: Config, key: _Key) -> Container | str:
    """A container's settings; or why there are none, "" for what is no container."""
    if not key.container:
        return ""
    if not any(key.container in config.get(system, {}).get(key.app, {}) for system in SYSTEMS):
        return NOT_CONFIGURED
    try:
        return find_container(config, key.app, key.container, key.env, SYSTEMS)
    except ConfigError as error:
        return str(error)


def _place_repeats(configured: list[tuple[ContainerReport, Container]], found: list[ContainerReport]) -> None:
    """A repeat's documents are its form's, which another container of the app loads."""
    for one, settings in configured:
        if settings.repeat and not one.source:
            form_id = settings.form_id or settings.id
            for other in found:
                if (other.app, other.env, other.container_id) == (one.app, one.env, form_id):
                    one.source, one.app_id, one.container_id = other.source, other.app_id, other.container_id


def _build_container(
    key: _Key,
    standings: list[Standing],
    given: Container | str,
    app_schedule: Schedule | None,
    now: dt.datetime,
) -> ContainerReport:
    one = ContainerReport(*key)
    settings = given if isinstance(given, Container) else None
    schedule = None if key.container else app_schedule
    if settings is not None:
        one.description, schedule = settings.description, settings.schedule
    else:
        one.note = str(given)
    one.schedule = _describe(schedule)
    for standing in standings:
        one.lines.append(_build_line(standing, settings, schedule, now))
        if standing.script == "records_to_postgrest":
            one.full_at, one.full_read = standing.last_full_at, standing.last_full_read
            place = _read_place(standing.destination)
            if place:
                one.source, one.app_id, one.container_id = place
    if settings is not None:
        never = [script for script in _list_scripts(settings) if script not in {s.script for s in standings}]
        one.lines += [_build_line(None, settings, schedule, now, script) for script in never]
    one.lines.sort(key=lambda line: (_ORDER.get(line.script, len(_ORDER)), line.destination))
    one.tone = find_worst([line.tone for line in one.lines] + ["warn"] * one.is_wrong)
    return one


_ORDER = {
    name: number
    for number, name in enumerate(
        ("metadata_to_postgrest", "records_to_postgrest", "attachments_to_s3", *_PUBLISHERS)
    )
}


def _list_scripts(settings: Container) -> list[str]:
    """The scripts that a container is configured for."""
    loads = [] if settings.repeat else ["records_to_postgrest"]
    copies = ["records_to_knack"] if settings.copies_to else []
    return loads + (["attachments_to_s3"] if settings.copies_media else []) + settings.publishers + copies


def _build_line(
    standing: Standing | None,
    settings: Container | None,
    schedule: Schedule | None,
    now: dt.datetime,
    script: str = "",
) -> Line:
    script = standing.script if standing else script
    when = judge.choose_when(script, schedule)
    tone, words, since, due = judge.judge(standing, when, now)
    line = Line(
        script, standing.destination if standing else "", tone, words, since, latest=standing, schedule=when
    )
    line.expected_at = due
    if script not in judge.FOLLOWING and tone == "bad":
        # Fields seldom change, and a purge or a repair that failed can wait: nobody is to be woken for that.
        line.tone = "warn"
    elif (
        script == "records_to_postgrest"
        and line.destination.startswith("store:knack/")
        and tone in ("good", "busy")
        and schedule is not None
    ):
        # Knack tells nobody of deleted records; Central does.
        late = judge.judge_full(standing, schedule.full, now)
        if late:
            line.tone, (line.words, line.since) = "warn", late
            line.cure = "Run it once without --since-last: only a load of everything finds deleted records."
    elif standing and settings is not None and _is_retired(standing, settings):
        line.tone, line.words, line.since = (
            "idle",
            f"{words}; the configuration names another place now",
            None,
        )
    return line


def _is_retired(standing: Standing, settings: Container) -> bool:
    """Whether a container is published elsewhere now."""
    named = {"records_to_socrata": settings.socrata_resource_id, "records_to_agol": settings.service_id}
    return standing.script in named and (named[standing.script] or "\0") not in standing.destination


def _find_dest(line: Line, settings: Container | str | None) -> str:
    """The app that a container is copied to, by the object that the ledger names; "" where that is not clear."""
    named = settings.dest_apps or {} if isinstance(settings, Container) else {}
    object_key = line.destination.rpartition("/")[2]
    apps = [app for app, key in named.items() if object_key in ("", key)]
    return apps[0] if len(apps) == 1 else ""


def _finish(line: Line, one: ContainerReport, postgrest: PostgREST, all_rejects: bool, dest: str) -> None:
    """What needs the runs too: the advice; and the list of refused records. dest: see `judge.build_command`."""
    if not line.cure:
        line.cure = judge.advise(line.latest, line.words, line.tone, line.error)
    if line.cure:
        line.command = judge.build_command(line.script, one.app, one.container, one.env, dest)
        if line.words == "no load of everything, so deleted records stay":
            line.command = line.command.removesuffix(" --since-last")
    if line.latest is not None and line.latest.open_rejects:
        rejects = ledger.read_open_rejects(postgrest, line.destination, 1000 if all_rejects else MOST_REJECTS)
        line.rejects = list(rejects if all_rejects else islice(rejects, MOST_REJECTS))


def _read_place(destination: str) -> _Place | None:
    """Where a container's documents are, from what the ledger calls a load's destination."""
    system, _, rest = destination.removeprefix("store:").partition("/")
    parts = rest.split("/", 2 if system == "odk" else 1)
    if system == "odk" and len(parts) == 3:
        return _Place(system, f"{parts[0]}/{parts[1]}", parts[2])
    return _Place(system, *parts) if system == "knack" and len(parts) == 2 else None


class _Counted(NamedTuple):
    alive: int
    deleted: int
    changed_at: dt.datetime | None


def _count_store(postgrest: PostgREST, found: list[ContainerReport]) -> None:
    """Fill in how many documents there are, and how many of them each destination waits for."""
    from dateutil import parser as dates

    places = {_Place(one.source, one.app_id, one.container_id) for one in found if one.source}
    if not places:
        return
    answer = postgrest.call("count_documents", {"places": [place._asdict() for place in sorted(places)]})
    counted = {
        _Place(row["source"], row["app_id"], row["container_id"]): _Counted(
            row["alive"],
            row["deleted"],
            dates.isoparse(row["changed_at"]) if row["changed_at"] else None,
        )
        for row in answer
    }
    marked: list[tuple[Line, dict[str, Any]]] = []
    for one in found:
        place = _Place(one.source, one.app_id, one.container_id)
        if place in counted:
            one.alive, one.tombstones, one.changed_at = counted[place]
            for line in one.lines:
                if line.script in _PUBLISHERS and line.latest and line.latest.watermark:
                    mark = {**place._asdict(), "watermark": line.latest.watermark.isoformat()}
                    marked.append((line, mark))
    if marked:
        answer = postgrest.call("count_waiting", {"marks": [mark for _, mark in marked]})
        waiting = {
            (row["source"], row["app_id"], row["container_id"], dates.isoparse(row["watermark"])): row
            for row in answer
        }
        for line, mark in marked:
            row = waiting[
                mark["source"], mark["app_id"], mark["container_id"], dates.isoparse(mark["watermark"])
            ]
            line.waiting = row["waiting"]
            line.waiting_since = dates.isoparse(row["since"]) if row["since"] else None


def _describe(schedule: Schedule | None) -> str:
    """A schedule in words."""
    if schedule is None:
        return ""
    kinds = (("changes", schedule.changes), ("everything", schedule.full), ("metadata", schedule.metadata))
    return ", ".join(f"{kind} {when}" for kind, when in kinds if when)
