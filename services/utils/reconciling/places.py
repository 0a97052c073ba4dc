"""The places of a container: the store, compared with the source, and destinations, compared with the store.

A place is compared by the very planning that a load or a publish does, carried out as a dry run.
"""

from __future__ import annotations

import abc
import dataclasses
import datetime as dt
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from services.utils import agol, loading, runs, socrata, sources
from services.utils.cli import Args
from services.utils.containers import Container
from services.utils.differences import Difference, Differences
from services.utils.env import Settings
from services.utils.errors import ConfigError
from services.utils.guard import DeleteGuard
from services.utils.progress import track
from services.utils.records import Counts, Document, OnReject, Reject, Row
from services.utils.runs import Run
from services.utils.spool import Spool
from services.utils.store import Store

log = logging.getLogger(__name__)

STORE, SOCRATA, AGOL = "store", "socrata", "agol"
NAMES = (STORE, SOCRATA, AGOL)
_PUBLISHERS = {SOCRATA: "records_to_socrata", AGOL: "records_to_agol"}
_LENIENT = DeleteGuard(100.0, allow_empty=True)


class Place(abc.ABC):
    """One place. Made by `choose_places`.

    After `compare`: refused are the ids of records that cannot be there as they are; moving, how many records
    differed and had changed since the comparison began.
    """

    name = ""

    def __init__(self, container: Container, settings: Settings, store: Store, args: Args) -> None:
        self.container = container
        self.settings = settings
        self.store = store
        self.args = args
        self.guard = DeleteGuard(args.max_delete_pct, args.allow_empty)
        self.refused: set[str] = set()
        self.moving = 0

    @property
    @abc.abstractmethod
    def destination(self) -> str:
        """The place in the ledger's words, as the script that writes it has them."""

    @abc.abstractmethod
    def compare(self, differences: Differences) -> None:
        """Tell how the place differs from what belongs there; nothing is written."""

    @abc.abstractmethod
    def repair(self, run: Run, record_ids: Sequence[str]) -> None:
        """Bring what differs. record_ids: what differed, as far as so many ids were kept."""


class StorePlace(Place):
    """The store's container, compared with the source. records: how many the source has, pages: in how many parts."""

    name = STORE
    records = 0
    pages = 0

    @property
    def destination(self) -> str:
        """As `records_to_postgrest` has it."""
        return f"store:{self.store.system}/{self.store.app_id}/{self.store.container_id}"

    @property
    def source(self) -> str:
        """The source in words."""
        return f"{self.store.system}:{self.store.app_id}/{self.store.container_id}"

    def compare(self, differences: Differences) -> None:
        """Walk the source, and ask the store for digests."""
        dry = Run(self.store.postgrest, dataclasses.replace(self.args, dry_run=True), self.destination)
        source = sources.open_source(self.container, self.settings, self.store, dry)
        compared = loading.compare_all(self.store, source, differences)
        self.records, self.pages = compared.records, compared.pages
        self.refused = dry.rejected_ids

    def repair(self, run: Run, record_ids: Sequence[str]) -> None:
        """Ask for the records one by one where that can be, else load everything."""
        source = sources.open_source(self.container, self.settings, self.store, run)
        # More ids than these were not kept: there may be others.
        few = len(record_ids) <= loading.LOOK_AGAIN_MOST
        if few and loading.load_some(self.store, source, run, self.guard, list(record_ids), self.pages):
            return
        sources.load_records(
            self.container, self.settings, self.store, run, self.guard, follow=False, dry_run=False
        )


class Destination(Place):
    """A dataset or layer, compared with the rows that the store's documents give."""

    def compare(self, differences: Differences) -> None:
        """Plan a full publish; look again at a few that differ."""
        began = _read_time(self.store.postgrest.call("watermark", {}))
        first = Differences()
        try:
            self.refused = set()
            documents = track(self._read(), "reading documents")
            self._publish(documents, replace=True, guard=_LENIENT, on_reject=self._note, differences=first)
            differences.held, differences.others = first.held, first.others
            if first.total > loading.LOOK_AGAIN_MOST:
                for one in first.take():
                    differences.add(one)
            elif first.total:
                self._look_again(first, began, differences)
        finally:
            first.close()

    def repair(self, run: Run, record_ids: Sequence[str]) -> None:
        """Publish everything, which sends what differs only."""
        documents = run.watch(self._read())
        run.counts = self._publish(
            documents, replace=True, guard=self.guard, on_reject=run.reject, dry_run=False
        )

    def _read(self) -> Iterator[Document]:
        """The documents of a full publish."""
        return self.store.read()

    @abc.abstractmethod
    def _open(self) -> tuple[sources.Rows, Callable[..., Counts]]:
        """The container's rows, and what publishes them as the script does."""

    def _publish(
        self,
        documents: Iterable[Document],
        *,
        replace: bool,
        guard: DeleteGuard,
        on_reject: OnReject,
        dry_run: bool = True,
        gone: Iterable[Row] = (),
        differences: Differences | None = None,
    ) -> Counts:
        """Publish documents' rows, or plan to. gone: more rows that are deleted."""
        rows, publish = self._open()
        try:
            return publish(
                itertools.chain(rows.format(documents, on_reject=on_reject), gone),
                replace=replace,
                guard=guard,
                dry_run=dry_run,
                on_reject=on_reject,
                parts=rows.parts if replace else None,
                differences=differences,
            )
        finally:
            if rows.parts is not None:
                rows.parts.close()

    def _look_again(self, first: Differences, began: dt.datetime, differences: Differences) -> None:
        """Tell those that still differ, by what the store and the place hold now of the records in question.

        A document that changed since we began is on its way: the next publish brings it.
        """
        moving, second = Spool(), Differences()
        extra = {one.key for one in first.take(["extra"]) if not one.sure}
        gone = (Row(key, {first.key_name: key}, deleted=True) for key in sorted(extra))
        try:
            documents = self._read_few(first, began, moving)
            self._publish(
                documents, replace=False, guard=_LENIENT, on_reject=_ignore, gone=gone, differences=second
            )
            for one in second.take():
                if one.sure or (one.kind == "extra" and one.key not in extra):
                    continue
                if moving.find(one.record_id or one.key)[0]:
                    self.moving += 1
                    continue
                differences.add(one)
            for one in first.take():
                if one.sure:
                    differences.add(one)
        finally:
            moving.close()
            second.close()

    def _read_few(self, first: Differences, began: dt.datetime, moving: Spool) -> Iterator[Document]:
        """Documents that changed since we began, noted in `moving`, and those whose rows differed."""
        for document in self.store.read(since=began.isoformat()):
            if moving.there(document.record_id):
                yield document
        asked = dict.fromkeys(one.record_id for one in first.take(["missing", "differing"]))
        unmoved = [record_id for record_id in asked if not moving.find(record_id)[0]]
        for document in self.store.read_documents(unmoved):
            if _read_time(document.updated_at) >= began:
                moving.there(document.record_id)
            yield document

    def _note(self, reject: Reject) -> None:
        self.refused.add(reject.record_id)


class SocrataPlace(Destination):
    """A Socrata dataset."""

    name = SOCRATA

    @property
    def destination(self) -> str:
        """As `records_to_socrata` has it."""
        return f"socrata:{self.settings.socrata.host}/{self.container.socrata_resource_id}"

    def _read(self) -> Iterator[Document]:
        documents = self.store.read(deleted=not self.container.is_alone_in_dataset)
        return self.store.skip_alive_elsewhere(documents, self.container.siblings)

    def _read_few(self, first: Differences, began: dt.datetime, moving: Spool) -> Iterator[Document]:
        documents = super()._read_few(first, began, moving)
        return self.store.skip_alive_elsewhere(documents, self.container.siblings)

    def _open(self) -> tuple[sources.Rows, Callable[..., Counts]]:
        portal = self.settings.socrata
        client = socrata.connect(portal.url, portal.username, portal.password, portal.app_token)
        dataset = socrata.open_dataset(client, self.container.socrata_resource_id)
        rows = sources.open_rows(self.container, self.store, socrata.geo_columns(dataset))
        stamp = socrata.build_stamp(
            dataset, self.container.append_timestamps_socrata, dt.datetime.now(rows.zone)
        )
        publish = partial(
            socrata.publish,
            dataset=dataset,
            exclusive=self.container.is_alone_in_dataset,
            compare=True,
            stamp=stamp,
        )
        return rows, publish


class AgolPlace(Destination):
    """An ArcGIS Online layer or table."""

    name = AGOL

    @property
    def destination(self) -> str:
        """As `records_to_agol` has it."""
        one = self.container
        return f"agol:{one.service_id}/{one.item_type}/{one.layer_id}"

    def _open(self) -> tuple[sources.Rows, Callable[..., Counts]]:
        one, login = self.container, self.settings.agol
        portal = agol.connect(login.url, login.username, login.password, login.client)
        rows = sources.open_rows(one, self.store)
        layer = agol.open_layer(portal, one.service_id, str(one.layer_id), one.item_type)
        publish = partial(
            agol.publish,
            layer=layer,
            key_field=one.upsert_matching_field,
            location_field=rows.name_places(layer.place),
        )
        return rows, publish


_PLACES: dict[str, type[Place]] = {STORE: StorePlace, SOCRATA: SocrataPlace, AGOL: AgolPlace}


def choose_places(
    config: Mapping[str, Mapping[str, Mapping[str, Any]]], container: Container, only: Sequence[str]
) -> list[type[Place]]:
    """The places to compare: those that are asked for, or all that the container has in its env.

    Raises: ConfigError if one that is asked for is not configured, or there is none.
    """
    wanted = only or [
        name for name in NAMES if name == STORE or _PUBLISHERS.get(name) in container.publishers
    ]
    if container.repeat and not only:
        # Its documents are its form's, and compared with that.
        wanted = [name for name in wanted if name != STORE]
    if not wanted:
        raise ConfigError(
            f"{container.where} has no place to compare: its documents are its form's, and it is published nowhere"
            f"{' with -e dev' if container.env == 'dev' else ''}. Nothing was sent."
        )
    for name in wanted:
        if name == STORE:
            sources.refuse_repeat(config, container)
        elif name == SOCRATA:
            container.require("socrata_resource_id", "publish to Socrata")
        else:
            container.require("service_id", "publish to ArcGIS Online")
            container.require("layer_id", "publish to ArcGIS Online")
    return [_PLACES[name] for name in NAMES if name in wanted]


def list_systems(container: Container, places: Sequence[type[Place]]) -> list[str]:
    """The systems whose variables are needed."""
    names = {place.name for place in places}
    first = container.system if STORE in names else f"{container.system}_app"
    return [first, "store", *sorted(names - {STORE})]


def repair(place: Place, record_ids: Sequence[str]) -> Counts:
    """Bring what differs, in a run of its own, so that two writers never meet.

    No script's watermark moves: what this brings is a part of what that script has still to deliver.
    """
    with runs.record_run(place.store.postgrest, place.args, place.destination) as run:
        run.moves_watermark = False
        place.repair(run, record_ids)
    return run.counts


def _ignore(reject: Reject) -> None:
    """Told of once already."""


def _read_time(text: str) -> dt.datetime:
    from dateutil import parser as dates

    return dates.isoparse(text)


__all__ = ["NAMES", "Difference", "Place", "StorePlace", "choose_places", "list_systems", "repair"]
