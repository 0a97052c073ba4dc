"""Rows that are parts of documents: what vanished from a document goes at the destination, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import pytest

from dev.simulators.agol import AgolSimulator
from dev.simulators.socrata import SocrataSimulator
from services.utils import agol, socrata
from services.utils.errors import ConfigError, PublishError
from services.utils.guard import DeleteGuard
from services.utils.parts import Parts
from services.utils.records import Counts, Reject, Row
from services.utils.session import Backoff

ITEM, DATASET = "0123456789abcdef0123456789abcdef", "part-part"
QUICK = Backoff(attempts=4, factor_s=0.01, jitter_s=0.0, deadline_s=20.0)
LIMITS = socrata.Limits(lag_s=5.0, poll_s=0.01)
LOOSE = DeleteGuard(max_delete_pct=100, allow_empty=True)


def fail(reject: Reject) -> None:
    """No row is to be refused."""
    pytest.fail(f"{reject.record_id}: {reject.reason}")


class Layer:
    """A table at ArcGIS Online."""

    def __init__(self, sim: AgolSimulator) -> None:
        self.sim = sim
        sim.create_layer(ITEM, 0, kind="table", fields={"id": ("String", 200), "n": ("Integer",)})
        portal = agol.connect(sim.url, sim.username, sim.password, backoff=QUICK)
        self.layer = agol.open_layer(portal, ITEM, 0, "table")

    def put(self, keys: Iterable[str]) -> None:
        """Rows that are there already."""
        self.sim.add_features(ITEM, 0, [{"attributes": {"id": key, "n": 0}} for key in keys])

    def keys(self) -> set[str]:
        """What is there; no key twice."""
        found = [feature["attributes"]["id"] for feature in self.sim.features(ITEM)]
        assert len(set(found)) == len(found)
        return set(found)

    def publish(
        self, rows: list[Row], parts: Parts, *, replace: bool = False, dry_run: bool = False
    ) -> Counts:
        """Bring it in step."""
        return agol.publish(
            rows,
            self.layer,
            replace=replace,
            guard=LOOSE,
            dry_run=dry_run,
            on_reject=fail,
            pauses_s=(0.01, 0.02),
            parts=parts,
        )


class Dataset:
    """A dataset at Socrata."""

    def __init__(self, sim: SocrataSimulator) -> None:
        self.sim = sim
        sim.create_dataset(DATASET, {"id": "text", "n": "number"})
        self.dataset = self.open()

    def open(self) -> socrata.Dataset:
        """The dataset as it is now."""
        client = socrata.connect(
            self.sim.url, self.sim.username, self.sim.password, self.sim.app_token, backoff=QUICK
        )
        return socrata.open_dataset(client, DATASET)

    def put(self, keys: Iterable[str]) -> None:
        """Rows that are there already."""
        self.sim.upsert(DATASET, [{"id": key, "n": 0} for key in keys])

    def keys(self) -> set[str]:
        """What is there."""
        return {row["id"] for row in self.sim.rows(DATASET)}

    def publish(
        self,
        rows: list[Row],
        parts: Parts,
        *,
        replace: bool = False,
        dry_run: bool = False,
        exclusive: bool = True,
        limits: socrata.Limits = LIMITS,
    ) -> Counts:
        """Bring it in step."""
        return socrata.publish(
            rows,
            self.dataset,
            replace=replace,
            guard=LOOSE,
            dry_run=dry_run,
            on_reject=fail,
            exclusive=exclusive,
            limits=limits,
            parts=parts,
        )


Place = Layer | Dataset


@pytest.fixture
def dataset() -> Iterator[Dataset]:
    """An empty dataset."""
    with SocrataSimulator() as sim:
        yield Dataset(sim)


@pytest.fixture
def layer() -> Iterator[Layer]:
    """An empty table."""
    with AgolSimulator() as sim:
        yield Layer(sim)


@pytest.fixture(params=["dataset", "layer"])
def place(request: pytest.FixtureRequest) -> Place:
    """One of the two."""
    return request.getfixturevalue(request.param)


def come(documents: dict[str, int]) -> tuple[list[Row], Parts]:
    """The rows of documents that came: {id: how many}."""
    parts = Parts(lambda key: key.rpartition("#")[0] or None)
    for record_id in documents:
        parts.note(record_id)
    rows = [
        Row(record_id, {"id": f"{record_id}#{number}", "n": number})
        for record_id, count in documents.items()
        for number in range(1, count + 1)
    ]
    return rows, parts


def test_publish__what_vanished_goes(place: Place) -> None:
    """Rows of the documents that came go where they did not come again; others stay, whatever they look like."""
    others = {"c#1", "aa#1", "a", "A#9x", "#1", "x"}
    place.put({"a#1", "a#2", "a#3", "b#1", "b#2", *others})
    counts = place.publish(*come({"a": 1, "b": 0, "new": 2}))
    assert place.keys() == {"a#1", "new#1", "new#2", *others}
    assert (counts.inserted, counts.updated, counts.deleted) == (2, 1, 4)
    counts = place.publish(*come({"a": 1, "b": 0, "new": 2}))
    assert (counts.inserted, counts.deleted) == (0, 0)


def test_publish__dry_run(place: Place) -> None:
    """A dry run counts what would go and leaves it."""
    place.put({"a#1", "a#2", "b#1"})
    assert place.publish(*come({"a": 1}), dry_run=True).deleted == 1
    assert place.keys() == {"a#1", "a#2", "b#1"}


def test_publish__nothing_came(place: Place) -> None:
    """Where no document came, nothing goes and hardly anything is asked."""
    place.put({"a#1", "b#1"})
    place.sim.requests.clear()
    assert place.publish(*come({})) == Counts()
    assert place.keys() == {"a#1", "b#1"} and place.sim.count() <= 1


@pytest.mark.parametrize(
    "odd", ["50%", "a_b", "o'brien", 'quo"te', "a[b]", "x#1", "a\\b", "[^a]", "тополь 🌳", "a%b_"]
)
def test_publish__odd_ids(place: Place, odd: str) -> None:
    """Signs that a query language would read in its own way are those of an id."""
    others = {"50 cents#1", "aXb#1", "a", "x#1", "obrien#2", "b#1"}
    place.put({f"{odd}#1", f"{odd}#2", *others})
    place.publish(*come({odd: 1}))
    assert place.keys() == ({f"{odd}#1"} | others) - ({"x#1#2"} if odd == "x#1" else set())


def test_publish__ids_that_begin_alike(place: Place) -> None:
    """A row belongs to one document, also where its key begins like another's: it is there once, and stays."""
    many = {f"a{'#1' * depth}": 2 for depth in range(1, 60)}
    rows, parts = come({"a": 2, **many})
    place.publish(rows, parts)
    wanted = {str(row.values["id"]) for row in rows}
    assert len(wanted) == 120 and place.keys() == wanted
    counts = place.publish(*come({"a": 2, **many}))
    assert (counts.inserted, counts.deleted) == (0, 0) and place.keys() == wanted


def test_publish__very_many_documents(place: Place) -> None:
    """More documents than are asked for one by one."""
    place.put({"d7#1", "d7#2", "d1500#1", "d1500#2", "e#1"})
    counts = place.publish(*come({f"d{number}": 0 for number in range(1200)}))
    assert place.keys() == {"d1500#1", "d1500#2", "e#1"} and counts.deleted == 2


def test_publish__full_run(place: Place) -> None:
    """A full run removes what no row wants, with or without documents that came."""
    place.put({"a#1", "a#2", "b#1"})
    place.publish(*come({"a": 1}), replace=True)
    assert place.keys() == {"a#1"}


def test_publish__shared_dataset(dataset: Dataset) -> None:
    """A full run into a dataset that others feed too removes what vanished from its own documents alone."""
    dataset.put({"a#1", "a#2", "b#1", "theirs"})
    dataset.publish(*come({"a": 1}), replace=True, exclusive=False)
    assert dataset.keys() == {"a#1", "b#1", "theirs"}


def test_publish__lagging_readers(dataset: Dataset) -> None:
    """Rows that readers do not see yet are waited for; where they never show, nothing is changed."""
    dataset.put({"a#1"})
    dataset.sim.switches.replica_lag_reads = 4
    dataset.put({"a#2", "b#1"})
    dataset.publish(*come({"a": 1}))
    assert dataset.keys() == {"a#1", "b#1"}
    dataset.sim.switches.replica_lag_reads = 100_000
    dataset.put({"b#2"})
    with pytest.raises(PublishError, match="not known which rows .* are to go. Nothing was changed"):
        dataset.publish(*come({"b": 1}), limits=socrata.Limits(lag_s=0.05, poll_s=0.01))
    assert dataset.keys() == {"a#1", "b#1", "b#2"}


def test_publish__refused_rows_stay(layer: Layer) -> None:
    """A row of a document that came and does not fit keeps its published version."""
    layer.put({"a#1", "a#2", "a#3"})
    rows, parts = come({"a": 2})
    rows[1].values["n"] = "no number"
    refused: list[str] = []
    counts = agol.publish(
        rows,
        layer.layer,
        replace=False,
        guard=LOOSE,
        on_reject=lambda reject: refused.append(reject.record_id),
        pauses_s=(0.01,),
        parts=parts,
    )
    assert refused == ["a"] and counts.deleted == 1 and layer.keys() == {"a#1", "a#2"}


def test_publish__other_row_identifier(dataset: Dataset) -> None:
    """Rows of documents are told apart by their key alone: another row identifier is an error."""
    dataset.sim.create_dataset(DATASET, {"id": "text", "n": "number"}, row_id="n")
    dataset.dataset = dataset.open()
    with pytest.raises(ConfigError, match="matched by 'id'. Nothing was sent"):
        dataset.publish(*come({"a": 1}))
