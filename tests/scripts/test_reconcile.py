"""Source, store and destinations compared: what differs is found exactly, and just that is repaired."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import pytest

from dev import stack as stacks
from dev.simulators.base import Request
from tests.conftest import empty_tables
from tests.forks import Done, Waits
from tests.scripts.conftest import Way
from tests.world import (
    CONTAINERS,
    DATASETS,
    LAYERS,
    SERVICE,
    SIGNALS,
    WORK_ORDERS,
    Kept,
    Killer,
    Places,
    World,
    open_world,
)

KINDS = ("missing", "extra", "differing")
ASKING = ("watermark", "same_documents", "find_submissions", "keep_counts")


@pytest.fixture(scope="module")
def published(stack: stacks.Stack, store_env: dict[str, str]) -> Iterator[tuple[World, Kept]]:
    """A world in which everything was loaded and published."""
    empty_tables(stack)
    with open_world(stack, store_env) as world:
        world.bring_up()
        yield world, world.snapshot("published")


@pytest.fixture
def world(published: tuple[World, Kept]) -> World:
    """The same for each test."""
    world, kept = published
    world.restore(kept)
    world.restore_source(kept)
    world.socrata.refuse_ids(DATASETS[WORK_ORDERS])
    world.sql("delete from api.counts")
    return world


def read_differences(done: Done) -> dict[str, int]:
    """What differs or is refused, by place and kind, where it is not 0."""
    endings = tuple(f"_{kind}" for kind in (*KINDS, "refused"))
    return {name: number for name, number in done.summary.items() if name.endswith(endings) and number}


def read_ids(done: Done) -> dict[str, set[str]]:
    """{"place kind": ids} of the first table."""
    lines = (line.partition(": ") for line in done.stdout.partition("\n\n")[0].splitlines())
    return {head: set(ids.split(", ")) for head, _, ids in lines if head.endswith(KINDS)}


def count_writes(world: World) -> dict[str, int]:
    """How many rows and features were sent, deletions included, and requests to the store that write."""
    asked = [seen.path for seen in world.wire.requests if seen.method != "GET"]
    return {
        "store": len([path for path in asked if path.rpartition("/")[2] not in ASKING]),
        "socrata": sum(write.rows for one in DATASETS.values() for write in world.socrata.writes(one)),
        "agol": sum(call.adds + call.updates + call.deletes for call in world.agol.edits),
    }


def break_store(world: World, container: str) -> dict[str, set[str]]:
    """Take documents out of the store, put a strange one in, change some; {kind: ids}."""
    ids = sorted(world.source(container))
    missing, differing = set(ids[2:5]), set(ids[7:9])
    world.sql("delete from api.knack where record_id = any (%s)", ids[2:4])
    world.sql("update api.knack set deleted_at = now() where record_id = %s", ids[4])
    world.sql(
        "update api.knack set record = (record::text || ' ')::json where record_id = any (%s)",
        sorted(differing),
    )
    world.sql(
        "insert into api.knack (app_id, container_id, record_id, record) "
        "select app_id, container_id, 'f' || substr(record_id, 2), record from api.knack where record_id = %s",
        ids[0],
    )
    return {"missing": missing, "extra": {"f" + ids[0][1:]}, "differing": differing}


def break_dataset(world: World, container: str) -> dict[str, set[str]]:
    """The same in the dataset."""
    ids = sorted(world.source(container))
    column = "signal_name" if container == SIGNALS else "title"
    missing, differing = set(ids[1:3]), set(ids[5:8])
    rows: list[dict[str, Any]] = [{"id": one, ":deleted": True} for one in missing]
    rows += [{"id": one, column: "Written by hand"} for one in differing]
    world.socrata.upsert(DATASETS[container], [*rows, {"id": "Strange-1"}, {"id": "it's"}])
    return {"missing": missing, "extra": {"Strange-1", "it's"}, "differing": differing}


def break_layer(world: World, container: str, *, copies: bool = True) -> dict[str, set[str]]:
    """The same in the layer, with a second copy of a feature and one without a key."""
    ids = sorted(world.source(container))
    column = "signal_name" if container == SIGNALS else "title"
    with world.agol.lock:
        layer = world.agol.layer(SERVICE, LAYERS[container])
        oids = {feature.attributes["id"]: oid for oid, feature in layer.rows.items()}
        layer.apply(
            adds=[{"attributes": {"id": one}} for one in ["Strange-1", *([ids[0]] if copies else [])]],
            updates=[{"attributes": {"OBJECTID": oids[one], column: "Written by hand"}} for one in ids[6:8]],
            deletes=[oids[ids[3]], oids[ids[9]]],
        )
    extra = {"Strange-1", *([ids[0]] if copies else [])}
    return {"missing": {ids[3], ids[9]}, "extra": extra, "differing": set(ids[6:8])}


def expect(place: str, broken: dict[str, set[str]]) -> dict[str, int]:
    """The numbers that the summary line should have."""
    return {f"{place}_{kind}": len(ids) for kind, ids in broken.items()}


@pytest.mark.parametrize("container", CONTAINERS)
def test_reconcile__freshly_published_all_agree(world: World, container: str) -> None:
    """Right after loading and publishing nothing differs, nothing is written, and the counts are kept.

    A publisher's token is enough for it.
    """
    done = world.run("reconcile", "-c", container, PGREST_ROLE="api_publisher")
    assert (done.code, done.summary["status"], read_differences(done)) == (0, "ok", {}), done
    count = len(world.source(container))
    counts = dict.fromkeys(("source", "store", "socrata", "agol"), count)
    assert {name: done.summary[f"{name}_count"] for name in counts} == counts
    assert count_writes(world) == {"store": 0, "socrata": 0, "agol": 0}
    kept = world.sql("select place, held, missing + extra + differing + refused from api.counts")
    assert sorted(kept) == sorted((place, count, 0) for place in counts)
    assert world.wire.requests[-1].path == "/rpc/keep_counts"


@pytest.mark.parametrize(
    ("place", "damage"), [("store", break_store), ("socrata", break_dataset), ("agol", break_layer)]
)
@pytest.mark.parametrize("container", CONTAINERS)
def test_reconcile__finds_exactly_what_differs(world: World, container: str, place: str, damage: Any) -> None:
    """What was taken out, put in or changed in one place is named by its ids, exit code 3, and nothing is written."""
    broken = damage(world, container)
    done = world.run("reconcile", "-c", container, "--only", place, "--ids", "50")
    assert (done.code, done.summary["status"]) == (3, "differs"), done
    assert read_differences(done) == expect(place, broken)
    assert read_ids(done) == {f"{place} {kind}": ids for kind, ids in broken.items()}
    assert count_writes(world) == {"store": 0, "socrata": 0, "agol": 0}
    assert "Written by hand" not in done.stdout + done.stderr
    kept = world.sql("select missing, extra, differing from api.counts where place = %s", place)
    assert kept == [tuple(len(broken[kind]) for kind in KINDS)]


@pytest.mark.parametrize("container", CONTAINERS)
def test_repair__brings_just_what_differs(world: World, container: str) -> None:
    """Each place gets back what it lacks and nothing else; no watermark moves, and then all agree."""
    good = world.places(container)
    watermarks = world.sql("select script, max(watermark) from api.runs group by 1 order by 1")
    store = break_store(world, container)
    dataset, layer = break_dataset(world, container), break_layer(world, container)
    times = dict(world.sql("select record_id, updated_at from api.knack"))
    done = world.run("reconcile", "-c", container, "--repair")
    assert (done.code, done.summary["status"], read_differences(done)) == (0, "ok", {}), done
    assert world.places(container) == good
    sent = count_writes(world)
    assert sent["socrata"] == sum(map(len, dataset.values()))
    assert sent["agol"] == sum(map(len, layer.values()))
    moved = {
        one for one, at in world.sql("select record_id, updated_at from api.knack") if times.get(one) != at
    }
    assert moved == set().union(*store.values())
    assert world.sql("select script, max(watermark) from api.runs group by 1 order by 1") == [
        ("metadata_to_postgrest", watermarks[0][1]),
        ("reconcile", None),
        *watermarks[1:],
    ]
    runs = [run for run in world.ledger() if run["script"] == "reconcile"]
    assert [(run["destination"].partition(":")[0], run["status"]) for run in runs] == [
        ("store", "ok"),
        ("socrata", "ok"),
        ("agol", "ok"),
    ]
    assert done.summary["inserted"] == sum(run["inserted"] for run in runs) > 0
    world.settle()
    for simulator in world.simulators:
        simulator.requests.clear()
    again = world.run("reconcile", "-c", container, "--repair")
    assert (again.code, read_differences(again)) == (0, {})
    assert count_writes(world)["store"] == 0 and len(world.ledger()) == len(runs) + 7


def test_repair__is_braked(world: World) -> None:
    """A store that lost most of its documents takes no more of the destinations than --max-delete-pct."""
    ids = sorted(world.source(WORK_ORDERS))
    world.sql("update api.knack set deleted_at = now() where record_id = any (%s)", ids[: len(ids) // 2])
    before = world.places(WORK_ORDERS)
    flags = ("-c", WORK_ORDERS, "--only", "socrata", "--only", "agol", "--repair")
    done = world.run("reconcile", *flags)
    assert (done.code, done.summary["status"]) == (1, "failed")
    assert len([line for line in done.errors if "--max-delete-pct" in line]) == 2
    assert world.places(WORK_ORDERS) == before
    done = world.run("reconcile", *flags, "--max-delete-pct", "60")
    assert done.code == 0 and set(world.places(WORK_ORDERS).layer) == set(ids[len(ids) // 2 :])


def test_repair__failed_and_nothing_left_to_do(world: World) -> None:
    """Where somebody else mended what a repair could not, the next one finds nothing and the ledger says ok."""
    ids = sorted(world.source(WORK_ORDERS))
    world.sql("update api.knack set deleted_at = now() where record_id = any (%s)", ids[: len(ids) // 2])
    flags = ("-c", WORK_ORDERS, "--only", "agol", "--repair")
    assert world.run("reconcile", *flags).code == 1
    world.insist("records_to_agol", "-c", WORK_ORDERS, "--max-delete-pct", "60")
    for _ in range(2):
        assert world.run("reconcile", *flags).code == 0
    mine = [run["status"] for run in world.ledger() if run["script"] == "reconcile"]
    assert mine == ["failed", "ok"]


def test_reconcile__refused_records_are_no_differences(world: World) -> None:
    """What a place does not take is told as refused, whether it does not fit or the server says no."""
    long, refused = sorted(world.source(WORK_ORDERS))[:2]
    world.edit(WORK_ORDERS, long, "x" * 5000)
    world.edit(WORK_ORDERS, refused, "Edited")
    world.insist("records_to_postgrest", "-c", WORK_ORDERS)
    world.socrata.refuse_ids(DATASETS[WORK_ORDERS], refused)
    for script in ("records_to_socrata", "records_to_agol"):
        assert world.run(script, "-c", WORK_ORDERS).code == 3
    done = world.run("reconcile", "-c", WORK_ORDERS)
    assert done.code == 0, done
    assert read_differences(done) == {"socrata_refused": 1, "agol_refused": 1}
    # Not repaired, nor sent again.
    runs = len(world.ledger())
    assert world.run("reconcile", "-c", WORK_ORDERS, "--repair").code == 0
    assert len(world.ledger()) == runs


def test_reconcile__edits_meanwhile_are_no_differences(world: World) -> None:
    """A record that is edited, loaded and published while its places are compared differs in none of them."""
    edited, added, deleted = sorted(world.source(WORK_ORDERS))[5:8]
    reads: list[str] = []

    def work(request: Request) -> None:
        """Once the dataset's rows are about to be read, and again the layer's: the documents were read before."""
        rows = request.path.startswith("/resource/") and "$offset" in request.query
        if (rows or request.path.endswith("/1/query")) and request.path not in reads:
            reads.append(request.path)
            record = 'replace(record::text, \'"id":\', \'"new": 1, "id":\')::json'
            world.sql(f"update api.knack set record = {record} where record_id = %s", edited)
            world.sql("update api.knack set deleted_at = clock_timestamp() where record_id = %s", deleted)
            world.socrata.upsert(
                DATASETS[WORK_ORDERS], [{"id": edited, "title": "New"}, {"id": deleted, ":deleted": True}]
            )

    world.socrata.on_request = world.agol.on_request = work
    done = world.run("reconcile", "-c", WORK_ORDERS, "--only", "socrata")
    world.socrata.on_request = world.agol.on_request = None
    assert reads and done.code == 0, done
    assert "records changed meanwhile" in done.stdout
    # What nobody touched any more is told.
    again = world.run("reconcile", "-c", WORK_ORDERS, "--only", "socrata")
    assert (again.code, read_differences(again)) == (3, {"socrata_differing": 1})


@pytest.mark.parametrize("container", CONTAINERS)
def test_reconcile__loads_meanwhile_are_no_differences(world: World, container: str) -> None:
    """A record that is edited or deleted, and loaded, just when its page was read differs in nothing."""
    edited, deleted = sorted(world.source(container))[:2]
    done: list[str] = []

    def work(request: Request) -> None:
        """The first page is on its way, with what was."""
        if request.path.endswith("/records") and request.query.get("page") == "1" and not done:
            done.append(request.path)
            world.edit(container, edited, "Edited")
            world.delete(container, deleted)
            world.sql(
                "update api.knack set record = %s where record_id = %s and container_id = %s",
                world.source(container)[edited].decode(),
                edited,
                container,
            )
            world.sql("update api.knack set deleted_at = now() where record_id = %s", deleted)

    world.knack.on_answer = work
    found = world.run("reconcile", "-c", container, "--only", "store")
    world.knack.on_answer = None
    assert done and (found.code, read_differences(found)) == (0, {}), found


def test_repair__of_some_records_closes_no_other_reject(world: World) -> None:
    """What the store refuses stays told where only other records were asked for; a whole load would know better."""
    world.sql(
        "insert into api.rejects (run_id, destination, record_id, reason) select run_id, destination, r, 'it is odd' "
        "from api.runs, unnest(%s::text[]) r where script = 'records_to_postgrest' and container = %s",
        ["another", sorted(world.source(WORK_ORDERS))[7]],
        WORK_ORDERS,
    )
    break_store(world, WORK_ORDERS)
    done = world.run("reconcile", "-c", WORK_ORDERS, "--only", "store")
    assert (done.summary["store_differing"], done.summary["store_refused"]) == (1, 1)
    done = world.run("reconcile", "-c", WORK_ORDERS, "--only", "store", "--repair")
    assert (done.code, done.summary["store_refused"]) == (0, 1), done
    assert world.sql("select count(*) from api.rejects where closed_at is null") == [(2,)]


@pytest.mark.parametrize("down", ["knack", "socrata", "agol"])
def test_reconcile__one_place_down_the_others_compared(world: World, down: str) -> None:
    """What does not answer is said and ends with 1; the other places are compared, and repaired, all the same."""
    broken = break_layer(world, SIGNALS) if down != "agol" else break_dataset(world, SIGNALS)
    getattr(world, down).faults.add("503", times=None)
    place = {"knack": "store"}.get(down, down)
    done = world.run("reconcile", "-c", SIGNALS, RETRY_SECONDS="1")
    assert (done.code, done.summary["status"], len(done.errors)) == (1, "failed", 1), done
    assert f"{place} could not be compared" in done.stdout and "503" in done.errors[0]
    other = "agol" if down != "agol" else "socrata"
    assert read_differences(done) == expect(other, broken)
    assert f"{place}_count" not in done.summary
    repaired = world.run("reconcile", "-c", SIGNALS, "--repair", RETRY_SECONDS="1")
    assert (repaired.code, read_differences(repaired)) == (1, {})


def test_reconcile__configuration(world: World) -> None:
    """What is not configured, or has no variables, ends with 2 before anything is sent."""
    for flags, variables, words in (
        (["-c", SIGNALS], {"SOCRATA_URL": None, "AGOL_PASSWORD": None}, ["SOCRATA_URL", "AGOL_PASSWORD"]),
        (["-c", SIGNALS, "-e", "dev", "--only", "agol"], {}, ["service_id", "dev"]),
        (["-c", SIGNALS, "--only", "s3"], {}, ["--only"]),
        (["-c", SIGNALS, "--ids", "-1"], {}, ["whole number"]),
    ):
        done = world.run("reconcile", *flags, **variables)
        assert done.code == 2 and "Nothing was sent" in done.errors[0], done
        assert all(word in done.errors[0] for word in words)
    assert not any(system.requests for system in world.simulators)
    # In dev only what dev may write is compared.
    done = world.run("reconcile", "-c", SIGNALS, "-e", "dev")
    assert done.code == 0 and "socrata" not in done.stdout
    # A dataset that lost its row identifier cannot be compared; the others are.
    dataset = world.socrata._datasets[DATASETS[SIGNALS]]
    dataset.row_id, row_id = None, dataset.row_id
    done = world.run("reconcile", "-c", SIGNALS)
    dataset.row_id = row_id
    assert done.code == 2 and "has no row identifier" in done.errors[0]
    assert done.summary["agol_count"] == len(world.source(SIGNALS))


def damage_all(world: World, container: str) -> Places:
    """Break every place; what they held before."""
    good = world.places(container)
    for damage in (break_store, break_dataset, break_layer):
        damage(world, container)
    return good


def test_repair__killed_and_run_again(published: tuple[World, Kept], world: World) -> None:
    """Killed at any of its requests, a repair is completed by the next one."""
    kept = published[1]
    good = damage_all(world, WORK_ORDERS)
    whole = Killer(world, lambda: None)
    assert whole.run("reconcile", "-c", WORK_ORDERS, "--repair").code == 0
    for number in range(12, whole.count, max(7, whole.count // 8)):
        world.restore(kept)
        damage_all(world, WORK_ORDERS)
        killer = Killer(world, lambda: None, number, after=True)
        assert killer.run("reconcile", "-c", WORK_ORDERS, "--repair").code == -9, number
        again = world.start(
            "reconcile", "-c", WORK_ORDERS, "--repair", waits=Waits(runs={"SETTLE_S": 0.0})
        ).wait()
        assert (again.code, read_differences(again)) == (0, {}), (number, again)
        assert world.places(WORK_ORDERS) == good, number
        assert "running" not in {run["status"] for run in world.ledger()}


def test_repair__stopped(world: World) -> None:
    """Told to stop while it compares or repairs, it says so in one line and, if it had begun one, closes its run."""
    good = damage_all(world, WORK_ORDERS)
    ends = []
    for number in (8, 40, 70):
        before = len(world.ledger())
        killer = Killer(world, lambda: None, number, number=signal.SIGTERM)
        done = killer.run("reconcile", "-c", WORK_ORDERS, "--repair")
        assert killer.killed and (done.code, done.summary["status"]) == (1, "stopped"), (number, done)
        assert len(done.errors) == 1 and "Traceback" not in done.stderr
        ends += [run["status"] for run in world.ledger()[before:]]
    assert set(ends) <= {"stopped", "ok"} and "stopped" in ends
    assert world.run("reconcile", "-c", WORK_ORDERS, "--repair").code == 0
    assert world.places(WORK_ORDERS) == good


def test_reconcile__nothing_to_compare(quick: Way) -> None:
    """A repeat that is published nowhere has no place to compare: that is said, in one line."""
    forms = {"trees": {"project_id": 1}, "trunks": {"project_id": 1, "form_id": "trees", "repeat": "trunk"}}
    (quick.config / "odk.py").write_text(f"CONFIG = {{'park': {forms!r}}}", encoding="utf-8")
    done = quick.run("reconcile", "-c", "trunks", app="park", ODK_BASE_URL="http://127.0.0.1:9")
    assert done.code == 2 and "park/trunks has no place to compare" in done.stderr, done.stderr
