"""A small world to break: every request of every script passes through here, and the truth can be looked at.

    with open_world(stack, env, folder) as world:
        world.run("records_to_postgrest", "-c", WORK_ORDERS)
        kept = world.snapshot()
        world.restore(kept)

Pages and bodies are small, so that a few dozen records make several of each.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import psycopg

from dev import stack as stacks
from dev.demo import destinations
from dev.simulators.agol import AgolSimulator
from dev.simulators.base import Request, Simulator
from dev.simulators.city import City, build_city
from dev.simulators.knack import KnackSimulator
from dev.simulators.postgrest import PostgrestWire
from dev.simulators.socrata import SocrataSimulator
from tests.forks import Child, Done, ForkServer, Waits

APP = "traffic-operations"
SIGNALS, WORK_ORDERS = "view_200", "object_31"
CONTAINERS = (SIGNALS, WORK_ORDERS)
# The object that a container's records are edited in, a text field of it that both destinations show, its date.
OBJECTS = {SIGNALS: ("object_12", "Signal Name"), WORK_ORDERS: ("object_31", "Title")}
MODIFIED = {SIGNALS: "field_246", WORK_ORDERS: "field_335"}
DATASETS = {SIGNALS: "sign-als1", WORK_ORDERS: "work-ordr"}
LAYERS = {SIGNALS: 0, WORK_ORDERS: 1}
SERVICE = "5161676e616c73000000000000000001"
SCRIPTS = ("records_to_postgrest", "records_to_socrata", "records_to_agol")
_CONFIG = Path(__file__).resolve().parents[1] / "dev" / "demo" / "config" / "knack.py"
_TABLES = (
    "replaces",
    "runs",
    "shards",
    "rejects",
    "load_pages",
    "published_columns",
    "knack_metadata",
    "knack",
)


@dataclass(repr=False)
class Places:
    """What the three places hold of a container: {record id: content}, comparable between two runs."""

    store: dict[str, bytes]
    dataset: dict[str, Any]
    layer: dict[str, Any]


@dataclass(repr=False)
class Kept:
    """A snapshot of the source, the store and the destinations."""

    name: str
    source: dict[str, dict[str, bytes]]
    datasets: dict[str, Any]
    layers: dict[str, Any]


@dataclass(repr=False)
class World:
    """Everything that a script can reach, through wires that count."""

    city: City
    stack: stacks.Stack
    database: psycopg.Connection[Any]
    wire: PostgrestWire
    knack: KnackSimulator
    socrata: SocrataSimulator
    agol: AgolSimulator
    env: dict[str, str]
    forks: list[ForkServer] = field(default_factory=list)

    @property
    def simulators(self) -> tuple[Simulator, ...]:
        """All that scripts send requests to."""
        return self.wire, self.knack, self.socrata, self.agol

    # -- running ---------------------------------------------------------------------------------

    def start(
        self, script: str, *flags: str, server: int = 0, waits: Waits | None = None, **changed: str | None
    ) -> Child:
        """Start a script; several at a time on several servers."""
        while len(self.forks) <= server:
            self.forks.append(ForkServer(self.env).__enter__())
        return self.forks[server].start(script, "-a", APP, *flags, waits=waits, **changed)

    def run(self, script: str, *flags: str, **changed: str | None) -> Done:
        """Run a script to its end."""
        return self.start(script, *flags, **changed).wait()

    def insist(self, script: str, *flags: str, **changed: str | None) -> Done:
        """Run a script that must end well."""
        done = self.run(script, *flags, **changed)
        assert done.code == 0, (script, flags, done)
        return done

    def bring_up(self) -> None:
        """Everything loaded and published, from nothing."""
        self.insist("metadata_to_postgrest")
        for container in CONTAINERS:
            for script in SCRIPTS:
                self.insist(script, "-c", container)

    # -- the truth -------------------------------------------------------------------------------

    def sql(self, query: str, *params: Any) -> list[tuple[Any, ...]]:
        """Ask the database behind every wire."""
        cursor = self.database.execute(query, params or None)
        return cursor.fetchall() if cursor.description else []

    def reconnect(self) -> None:
        """Ask the database over a new connection, as after an outage."""
        self.database.close()
        self.database = connect_database(self.stack)

    def source(self, container: str) -> dict[str, bytes]:
        """{record id: bytes} as Knack serves them."""
        return self.knack.record_bytes(container)

    def documents(self, container: str) -> dict[str, bytes]:
        """{record id: bytes} of what is alive in the store."""
        found = self.sql(
            "select record_id, record::text from api.knack where container_id = %s and deleted_at is null",
            container,
        )
        return {record_id: record.encode() for record_id, record in found}

    def see_store(self, container: str) -> set[str]:
        """Ids that readers of the store see."""
        found = self.sql(
            "select record_id from api.knack where container_id = %s and deleted_at is null", container
        )
        return {row[0] for row in found}

    def see_dataset(self, container: str) -> set[str]:
        """Ids that readers of the dataset see."""
        return {str(row["id"]) for row in self.socrata.visible_rows(DATASETS[container])}

    def see_layer(self, container: str) -> set[str]:
        """Ids that readers of the layer see."""
        with self.agol.lock:
            layer = self.agol.layer(SERVICE, LAYERS[container])
            return {feature.attributes["id"] for feature in layer.rows.values()}

    def places(self, container: str) -> Places:
        """What each place truly holds; fails where the layer holds a key twice."""
        features = self.agol.features(SERVICE, LAYERS[container], 4326)
        layer = {one["attributes"].pop("id"): one for one in features}
        assert len(layer) == len(features), f"{len(features) - len(layer)} features are there twice"
        for one in features:
            one["attributes"].pop("OBJECTID")
        dataset = {str(row["id"]): row for row in self.socrata.rows(DATASETS[container])}
        return Places(self.documents(container), dataset, layer)

    def ledger(self) -> list[dict[str, Any]]:
        """The runs, oldest first."""
        rows = self.sql("select row_to_json(r)::text from api.runs r order by started_at")
        return [msgspec.json.decode(row[0]) for row in rows]

    # -- work at the source ----------------------------------------------------------------------

    def edit(self, container: str, record_id: str, text: str) -> None:
        """Give a record another name."""
        object_key, title = OBJECTS[container]
        self.knack.edit_record(object_key, record_id, {self.city.key(object_key, title): text})

    def add(self, container: str, like: str, text: str) -> str:
        """Add a record that is as another one but for its name; its id."""
        object_key, title = OBJECTS[container]
        own = self.city.key(object_key, title)
        # Knack numbers records itself: two of one number would stand in any order.
        counted = [
            field["key"] for field in self.city.fields[object_key] if field["type"] == "auto_increment"
        ]
        values = {
            key: value
            for key, value in self.knack.record(object_key, like).items()
            if key.startswith("field_") and not key.startswith((MODIFIED[container], own, *counted))
        }
        return self.knack.add_record(object_key, {**values, own: text})

    def delete(self, container: str, record_id: str) -> None:
        """Delete a record."""
        self.knack.delete_record(OBJECTS[container][0], record_id)

    # -- putting back ----------------------------------------------------------------------------

    def snapshot(self, name: str) -> Kept:
        """Keep what store and destinations hold now."""
        self.settle()
        self.sql(f"drop schema if exists kept_{name} cascade")
        self.sql(f"create schema kept_{name}")
        for table in _TABLES:
            self.sql(f"create table kept_{name}.{table} as table api.{table}")
        return Kept(
            name,
            self.knack.snapshot(),
            {dataset: self.socrata.snapshot(dataset) for dataset in DATASETS.values()},
            {layer: self.agol.snapshot(SERVICE, layer) for layer in LAYERS.values()},
        )

    def restore(self, kept: Kept) -> None:
        """Put store and destinations back to what they held, times and all; `restore_source` does the source."""
        self.settle()
        for simulator in self.simulators:
            simulator.faults.clear()
            simulator.requests.clear()
        self.agol.edits.clear()
        deletes = "".join(f"delete from api.{table};" for table in _TABLES)
        inserts = "".join(
            f"insert into api.{table} overriding system value select * from kept_{kept.name}.{table};"
            for table in reversed(_TABLES)
        )
        # As a replica: no trigger is to touch the times, no key to mind the order.
        self.sql(f"begin; set local session_replication_role = replica; {deletes} {inserts} commit")
        for dataset, rows in kept.datasets.items():
            self.socrata.restore(dataset, rows)
        for layer, state in kept.layers.items():
            self.agol.restore(SERVICE, layer, state)

    def settle(self) -> None:
        """Wait until nothing is under way any more that a script sent, dead or alive."""
        for simulator in self.simulators:
            simulator.wait_until_idle()

    def restore_source(self, kept: Kept) -> None:
        """Put the source back to what it held."""
        self.knack.restore(kept.source)


class Witness:
    """Looks at a place again and again: what was once to be seen and is still wanted never goes.

    place: "store", "dataset", "layer", or "" for none. wanted: ids that are to be there in the end.
    """

    def __init__(self, world: World, place: str, container: str, wanted: set[str]) -> None:
        self.seen: set[str] = set()
        self.lost: set[str] = set()
        self._wanted = wanted
        see = {"store": world.see_store, "dataset": world.see_dataset, "layer": world.see_layer}
        self._see = see.get(place, lambda container: set())
        self._container = container

    def look(self) -> None:
        """Look once."""
        visible = self._see(self._container)
        self.lost |= self.seen - visible
        self.seen |= visible & self._wanted


class Killer:
    """Numbers the requests of a script in order, looks at every boundary, and kills at one of them.

    at: the number of the request to die at; None lets the script live. after: when it was carried out and is
    not answered yet, instead of before it is carried out. late_s: before it is carried out, which it is all the
    same, so many seconds after that death. number: the signal that is sent.
    """

    def __init__(
        self,
        world: World,
        look: Callable[[], None],
        at: int | None = None,
        *,
        after: bool = False,
        late_s: float = 0.0,
        number: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.world = world
        self.count = 0
        self.killed = False
        self._look = look
        self._at, self._after, self._late_s, self._signal = at, after, late_s, number
        self._pid = 0
        self._known = threading.Event()
        self._lock = threading.Lock()
        self._numbers: dict[int, int] = {}

    def run(self, script: str, *flags: str, waits: Waits | None = None, **changed: str | None) -> Done:
        """Run a script with this killer behind it."""
        for simulator in self.world.simulators:
            simulator.on_request, simulator.on_answer = self._before, self._done
        try:
            child = self.world.start(script, *flags, waits=waits, **changed)
            self._pid = child.pid
            self._known.set()
            done = child.wait()
            if not self._late_s:
                self.world.settle()
            self._look()
            return done
        finally:
            for simulator in self.world.simulators:
                simulator.on_request = simulator.on_answer = None

    def _before(self, request: Request) -> None:
        with self._lock:
            self.count += 1
            number = self._numbers[id(request)] = self.count
        self._look()
        if number == self._at and not self._after:
            self._kill()
            time.sleep(self._late_s)
            if self._signal == signal.SIGKILL and not self._late_s:
                raise ConnectionAbortedError("the client is dead")

    def _done(self, request: Request) -> None:
        self._look()
        with self._lock:
            number = self._numbers.pop(id(request), 0)
        if number == self._at and self._after:
            self._kill()

    def _kill(self) -> None:
        self._known.wait(10)
        self.killed = True
        os.kill(self._pid, self._signal)


def connect_database(stack: stacks.Stack) -> psycopg.Connection[Any]:
    """A connection of our own, beside every wire."""
    return psycopg.connect(stack.database_url, host=str(stack.sockets), autocommit=True)


@contextlib.contextmanager
def open_world(
    stack: stacks.Stack,
    store_env: dict[str, str],
    *,
    signals: int = 24,
    work_orders: int = 40,
    seed: int = 0,
    unique: bool = False,
) -> Iterator[World]:
    """Simulators with data, an empty store, empty destinations.

    unique: the layers refuse a key that is there already, which ArcGIS Online does only where asked to.
    """
    city = build_city(accounts=4, locations=16, signals=signals, work_orders=work_orders)
    with (
        PostgrestWire(stack.url, seed, max_rows=17) as wire,
        KnackSimulator(city.metadata, city.records, seed=seed, rate_limit=None) as knack,
        SocrataSimulator(seed) as socrata,
        AgolSimulator(seed) as agol,
    ):
        destinations.create(city.metadata, socrata, agol)
        knack.switches.max_rows = 15
        for number in LAYERS.values():
            layer = agol.layer(SERVICE, number)
            layer.max_record_count = 16
            if not unique:
                layer.unique.clear()
        agol.switches.max_body_bytes = 20_000
        env = {
            **store_env,
            "PGREST_ENDPOINT": wire.url,
            "KNACK_APP_ID": knack.app_id,
            "KNACK_API_KEY": knack.api_key,
            "KNACK_API_URL": knack.url,
            "SOCRATA_URL": socrata.url,
            "SOCRATA_USERNAME": socrata.username,
            "SOCRATA_PASSWORD": socrata.password,
            "SOCRATA_APP_TOKEN": socrata.app_token,
            "AGOL_URL": agol.url,
            "AGOL_USERNAME": agol.username,
            "AGOL_PASSWORD": agol.password,
            "SERVICES_ENV": "prod",
            "SERVICES_CONFIG": str(_CONFIG.parent),
        }
        world = World(city, stack, connect_database(stack), wire, knack, socrata, agol, env)
        try:
            yield world
        finally:
            for server in world.forks:
                server.__exit__(None, None, None)
            with contextlib.suppress(psycopg.Error):
                names = world.sql("select nspname from pg_namespace where nspname like 'kept\\_%%'", *())
                for (name,) in names:
                    world.sql(f"drop schema {name} cascade")
            world.database.close()
