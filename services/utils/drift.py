"""Columns that were filled and get no more values, because a field was renamed or removed at its source.

The store remembers, for each container and destination, which field filled which column when it was published last
(api.published_columns). A column that nothing fills any more keeps what it holds; that is said in every run until it is
mended, or accepted.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from services.utils.containers import Container
from services.utils.errors import PublishError
from services.utils.postgrest import PostgREST
from services.utils.records import SourceField
from services.utils.runs import Run

log = logging.getLogger(__name__)

# Row names in, {column: the row name that fills it} out: as the destination matches them.
Match = Callable[[Iterable[str]], Mapping[str, str]]


class Filler(msgspec.Struct, frozen=True):
    """The field that fills a column: its key or path, its name as people see it, its type at the source."""

    field: str
    name: str
    type: str = ""


@dataclass(frozen=True)
class Drift:
    """One column that is not filled as it was. text: what became of it. lasting: it gets no values at all."""

    column: str
    text: str
    lasting: bool


@dataclass(frozen=True)
class Comparison:
    """What fills the columns now, beside what did. drifts: what is to be said. keep: what is to be remembered."""

    drifts: list[Drift]
    keep: dict[str, Filler]


def find_fillers(fields: Iterable[SourceField], match: Match) -> dict[str, Filler]:
    """Which field fills each column; columns that none fills are left out."""
    published = {field.name: field for field in fields if field.published}
    return {
        column: Filler(published[name].key, published[name].label, published[name].type)
        for column, name in match(published).items()
    }


def compare(
    known: Mapping[str, Filler], fields: Sequence[SourceField], match: Match, columns: Iterable[str]
) -> Comparison:
    """Find the columns that are not filled by the field that filled them.

    Args:
        known: what filled them. fields: all that the container has now. columns: all that the destination has.
        match: how the destination finds the column of a row name.
    """
    fillers = find_fillers(fields, match)
    columns_of = {filler.field: column for column, filler in fillers.items()}
    by_key = {field.key: field for field in fields}
    there = set(columns)
    drifts: list[Drift] = []
    keep = dict(fillers)
    for column, was in known.items():
        now = fillers.get(column)
        if column not in there or (now is not None and now.field == was.field):
            continue
        field = by_key.get(was.field)
        if now is not None:
            drifts.append(Drift(column, f"{_name(was)} filled it, and {_name(now)} does now", lasting=False))
        elif field is not None and not field.published and not field.vanished:
            log.info("column %s: its field %s is left out by the configuration", column, was.field)
        elif was.field in columns_of:
            said = f"{_tell(field, was)} and fills {columns_of[was.field]} now"
            drifts.append(Drift(column, said, lasting=False))
        else:
            drifts.append(Drift(column, _tell(field, was), lasting=True))
            keep[column] = was
    return Comparison(drifts, keep)


def watch_columns(
    container: Container,
    store: PostgREST,
    run: Run,
    fields: Sequence[SourceField],
    match: Match,
    columns: Iterable[str],
    *,
    accept: bool,
) -> Callable[[], None]:
    """Say what drifted since the destination was published last, before anything is sent.

    accept: it is meant so; nothing is said, and what gets no more values is forgotten.
    Returns: to be called when the publish is done, to remember what fills the columns now.
    Raises: PublishError if something drifted and the container's `on_drift` is "freeze".
    """
    known = read_fillers(store, run.destination, container)
    found = compare(known, fields, match, columns)
    keep = find_fillers(fields, match) if accept else found.keep
    if found.drifts and not accept:
        if container.on_drift == "freeze":
            said = "; ".join(f"column {drift.column}: {drift.text}" for drift in found.drifts)
            raise PublishError(
                f"{container.where} is frozen (on_drift), and {run.destination} would not be filled as it was: {said}. "
                "Nothing was changed. Put the field or the column right, or publish once with --accept-drift."
            )
        for drift in found.drifts:
            log.warning("%s, %s: %s", container.where, run.destination, tell_drift(drift))

    def remember() -> None:
        if run.id and keep != known:
            body = msgspec.json.encode(
                [
                    {
                        "destination": run.destination,
                        "app": container.app,
                        "container": container.id,
                        "columns": keep,
                    }
                ]
            )
            store.upsert(
                "published_columns", body, "destination,app,container,columns", what="what fills the columns"
            )

    return remember


def tell_drift(drift: Drift) -> str:
    """A drift in words, with what to do."""
    if not drift.lasting:
        return f"column {drift.column} is not filled as it was: {drift.text}. See whether that is meant."
    return (
        f"column {drift.column} gets no more values, and keeps what it holds: {drift.text}. Rename the column or the "
        "field, or take the column out; if it is meant so, publish once with --accept-drift."
    )


def read_fillers(store: PostgREST, destination: str, container: Container) -> dict[str, Filler]:
    """What filled the columns of a destination when the container was published there last; {} if it never was."""
    params = [
        ("select", "columns"),
        ("destination", f"eq.{destination}"),
        ("app", f"eq.{container.app}"),
        ("container", f"eq.{container.id}"),
    ]
    found = msgspec.json.decode(
        store.select("published_columns", params, what="what filled the columns"), type=list[_Remembered]
    )
    return found[0].columns if found else {}


class _Remembered(msgspec.Struct):
    columns: dict[str, Filler]


def _name(filler: Filler) -> str:
    return f"{filler.field} ({filler.name!r})" if filler.name != filler.field else filler.field


def _tell(field: SourceField | None, was: Filler) -> str:
    """What became of the field that filled a column."""
    if field is None:
        return f"its field {_name(was)} is not there any more"
    if field.vanished:
        return f"the newest document has its field {_name(was)} no more: removed at its source, or hidden by the view"
    if field.label != was.name:
        return f"its field {_name(was)} is called {field.label!r} now"
    return f"its field {_name(was)} does not match its name any more"
