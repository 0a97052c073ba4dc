"""What the ledger tells people, and what may be forgotten."""

from __future__ import annotations

import datetime as dt
import json
import re
from datetime import datetime

import msgspec
import pytest

from services.utils import env, ledger
from services.utils.postgrest import PostgREST
from tests.scripts.conftest import APP, ROOT, SIGNALS, WORK_ORDERS, Done, Way


def show(way: Way, *flags: str, **changed: str | None) -> Done:
    """Run status.py."""
    process = way.start("status", *flags, **changed)
    stdout, stderr = process.communicate(timeout=60)
    return Done(process.returncode, stdout, stderr)


def test_status__shows_the_latest_run_of_each(way: Way) -> None:
    """Each script and container has one line with its latest state, the error of a failed one below it."""
    way.run("metadata_to_postgrest")
    way.load(SIGNALS)
    way.load(SIGNALS)
    way.knack.faults.add("503", path="/records", times=None)
    way.run("records_to_postgrest", "-c", WORK_ORDERS, RETRY_SECONDS="1")
    done = show(way)
    assert done.code == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len([line for line in lines if "records_to_postgrest" in line and " ok " in line]) == 1
    failed = next(index for index, line in enumerate(lines) if " failed " in line)
    assert WORK_ORDERS in lines[failed] and "Knack" in lines[failed + 1]
    assert show(way, "-c", SIGNALS).summary["read"] == 1


def test_status__a_silent_run_is_dead(way: Way) -> None:
    """A run whose heartbeat stopped a minute ago is shown as dead, not as running."""
    way.load(SIGNALS)
    way.stack.execute(
        "update api.runs set status = 'running', finished_at = null, heartbeat_at = now() - interval '61 seconds'"
    )
    assert re.search(r" dead ", show(way).stdout)


def test_status__lists_refused_records(way: Way) -> None:
    """--rejects names each refused record and the rule, without its content."""
    way.run("metadata_to_postgrest")
    record_id = min(way.source(SIGNALS))
    way.knack.edit_record("object_12", record_id, {way.city.key("object_12", "Signal Name"): "q" * 5000})
    way.load(SIGNALS)
    assert way.run("records_to_agol", "-c", SIGNALS).code == 3
    done = show(way, "--rejects")
    assert re.search(rf"refused {record_id}: .*signal_name", done.stdout)
    assert done.summary["rejected"] == 1
    assert "qqqq" not in done.stdout


def test_status__json_is_one_document_and_the_summary(way: Way) -> None:
    """With --json all of stdout is one JSON document, which is the summary line too; a monitor's role is enough."""
    way.run("metadata_to_postgrest")
    way.load(SIGNALS)
    assert way.run("records_to_socrata", "-c", SIGNALS).code == 0
    way.knack.edit_record(
        "object_12", min(way.source(SIGNALS)), {way.city.key("object_12", "Signal Name"): "q"}
    )
    way.load(SIGNALS)
    done = show(way, "--json", PGREST_ROLE="api_monitor")
    assert done.code == 0, done.stderr
    whole = json.loads(done.stdout)
    assert whole == done.summary
    assert (whole["script"], whole["status"], whole["bad"]) == ("status", "ok", 0)
    one = next(one for one in whole["containers"] if one["container"] == SIGNALS)
    assert (one["alive"], one["full_read"], one["tone"]) == (len(way.source(SIGNALS)),) * 2 + ("warn",)
    lines = {line["script"]: line for line in one["lines"]}
    assert [len(lines[name]["runs"]) for name in ("records_to_postgrest", "records_to_socrata")] == [2, 1]
    assert lines["records_to_postgrest"]["runs"][-1]["updated"] == 1
    assert lines["records_to_socrata"]["waiting"] == 1
    # It is configured, and nobody has published it there yet.
    assert (lines["records_to_agol"]["words"], lines["records_to_agol"]["latest"]) == ("never ran", None)


def test_status__says_since_when(way: Way) -> None:
    """Runs that fail one after the other are counted from the first; a load by itself overdue is said so; an old
    destination is no alarm."""
    text = (way.config / "knack.py").read_text(encoding="utf-8")
    (way.config / "knack.py").write_text(
        text.replace('"description": "Work orders"', '"description": "Work orders", "schedule": "5m"'),
        encoding="utf-8",
    )
    way.load(WORK_ORDERS)
    way.stack.execute(
        "update api.runs set started_at = now() - interval '40 minutes', finished_at = now() - interval '39 minutes'"
    )
    one = json.loads(show(way, "--json", "-c", WORK_ORDERS).stdout)["containers"][0]
    assert (one["tone"], one["lines"][0]["words"]) == ("bad", "overdue")
    way.knack.faults.add("503", path="/records", times=None)
    for _ in range(2):
        way.run("records_to_postgrest", "-c", WORK_ORDERS, "--since-last", RETRY_SECONDS="1")
    way.stack.execute(
        "insert into api.runs (script, app, container, env, destination, status, error)"
        " values ('records_to_socrata', %s, %s, 'prod', 'socrata:old.example.org/aaaa-bbbb', 'failed', 'gone')",
        (APP, WORK_ORDERS),
    )
    done = json.loads(show(way, "--json", "-c", WORK_ORDERS).stdout)
    assert done["bad"] == 1
    load, old = done["containers"][0]["lines"][:2]
    first = way.stack.execute(
        "select min(started_at) from api.runs where status = 'failed' and script like '%postgrest'"
    )
    assert load["words"] == "failed 2 times in a row"
    assert datetime.fromisoformat(load["since"]) == first[0][0]
    assert (
        load["command"]
        == f"python services/records_to_postgrest.py -a {APP} -c {WORK_ORDERS} -e prod --since-last"
    )
    assert (old["tone"], old["latest"]["state"]) == ("idle", "failed")


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (
            ("-a", "trafic-operations"),
            f"app 'trafic-operations' is neither configured nor in the ledger; nearest: {APP}",
        ),
        (
            ("-a", APP, "-c", "view_20"),
            "container 'view_20' is neither configured nor in the ledger; nearest: view_200",
        ),
        (("-c", "nothing"), "container 'nothing' is neither configured nor in the ledger; there is: "),
    ],
)
def test_status__nobody_knows_it(way: Way, flags: tuple[str, ...], said: str) -> None:
    """A name that is wrong is no empty table that passes for a quiet night."""
    done = show(way, *flags)
    assert (done.code, said in done.stderr) == (2, True), done.stderr
    way.stack.execute(
        "insert into api.runs (script, app, container, env, destination, status)"
        " values ('records_to_socrata', 'trafic-operations', 'nothing', 'prod', 'socrata:old.example.org/a', 'ok')"
    )
    if "view_20" not in flags:
        assert show(way, *flags).code == 0


def test_status__names_the_app_copied_to(way: Way) -> None:
    """A copy to another Knack app that failed is told with the command that names that app."""
    config = {APP: {SIGNALS: {"dest_apps": {"one": {"object": "object_7"}, "two": {"object": "object_8"}}}}}
    (way.config / "knack.py").write_text(f"CONFIG = {config}", encoding="utf-8")
    way.stack.execute(
        "insert into api.runs (script, app, container, env, destination, status, error, finished_at)"
        " values ('records_to_knack', %s, %s, 'prod', 'knack:5f00/object_8', 'failed', 'no', now())",
        (APP, SIGNALS),
    )
    lines = json.loads(show(way, "--json").stdout)["containers"][0]["lines"]
    copy = next(line for line in lines if line["script"] == "records_to_knack")
    assert copy["tone"] == "bad" and copy["command"].endswith(f"-c {SIGNALS} -e prod -dest two --since-last")


def test_status__a_repeat_waits_for_its_form(way: Way) -> None:
    """A repeat's container has its form's documents: those that changed since its own watermark wait for it."""
    shipped = (ROOT / "dev" / "demo" / "config" / "odk.py").read_text(encoding="utf-8")
    (way.config / "odk.py").write_text(shipped, encoding="utf-8")
    way.stack.execute("""
        insert into api.odk (app_id, container_id, record_id, record, deleted_at)
        select 'h/1', 'household_trees', n::text, '{}', case when n = 4 then now() end from generate_series(1, 4) n
    """)
    way.stack.execute("""
        insert into api.runs (script, app, container, env, destination, status, watermark, started_at, finished_at)
        select script, 'green-town', container, 'prod', destination, 'ok', now() + late, now(), now()
        from (values
            ('records_to_postgrest', 'household_trees', 'store:odk/h/1/household_trees', interval '0'),
            ('records_to_socrata', 'household_trees', 'socrata:s/hous-hold', interval '1 minute'),
            ('records_to_socrata', 'trees', 'socrata:s/tree-list', interval '-1 minute')
        ) as r (script, container, destination, late)
    """)
    found = json.loads(show(way, "--json", "-a", "green-town").stdout)["containers"]
    form, trees = found
    assert [(one["container"], one["alive"], one["tombstones"]) for one in found] == [
        ("household_trees", 3, 1),
        ("trees", 3, 1),
    ]
    waiting = [
        line["waiting"] for one in found for line in one["lines"] if line["script"] == "records_to_socrata"
    ]
    assert waiting == [0, 4]
    assert "records_to_postgrest" not in [line["script"] for line in trees["lines"]]
    assert [line["words"] for line in form["lines"] if line["latest"] is None] == ["never ran"] * 2


def test_status__without_a_configuration(way: Way) -> None:
    """Where the configuration cannot be read a line says so, and all that the store knows is shown; what it does not
    name is no alarm, what it names wrongly is."""
    way.load(SIGNALS)
    done = show(way, "--json", SERVICES_CONFIG=str(way.config / "nowhere"))
    whole = json.loads(done.stdout)
    assert done.code == 0 and "schedules are not known" in done.stderr and "No knack.py" in whole["note"]
    assert whole["containers"][0]["alive"] == len(way.source(SIGNALS))
    (way.config / "knack.py").write_text("CONFIG = {}", encoding="utf-8")
    found = json.loads(show(way, "--json").stdout)["containers"]
    assert [(one["tone"], one["note"][:9]) for one in found] == [("good", "It is not")]
    wrong = {APP: {SIGNALS: {"layer": 1}}}
    (way.config / "knack.py").write_text(f"CONFIG = {wrong}", encoding="utf-8")
    found = json.loads(show(way, "--json").stdout)["containers"]
    assert found[0]["tone"] == "warn" and "unknown setting 'layer'" in found[0]["note"]


def test_purge__waits_for_every_destination(way: Way) -> None:
    """Tombstones go only after both publishers have delivered them; living documents and fresh tombstones stay."""
    way.run("metadata_to_postgrest")
    way.load(WORK_ORDERS)
    for script in ("records_to_socrata", "records_to_agol"):
        way.run(script, "-c", WORK_ORDERS)
    gone = sorted(way.source(WORK_ORDERS))[:3]
    for record_id in gone:
        way.knack.delete_record(WORK_ORDERS, record_id)
    way.load(WORK_ORDERS)
    purge = ("purge_tombstones", "-c", WORK_ORDERS, "--older-than", "1s")
    assert way.run("records_to_socrata", "-c", WORK_ORDERS, "--since-last").code == 0
    assert way.run(*purge).summary["deleted"] == 0
    assert way.run("records_to_agol", "-c", WORK_ORDERS, "--since-last").code == 0
    way.stack.execute("select pg_sleep(1.1)")
    assert way.run("purge_tombstones", "-c", WORK_ORDERS).summary["deleted"] == 0
    assert way.run(*purge, "--dry-run").summary["deleted"] == 3
    assert set(way.documents(WORK_ORDERS, deleted=True)) == set(gone)
    done = way.run(*purge)
    assert (done.code, done.summary["deleted"]) == (0, 3), done.stderr
    assert way.documents(WORK_ORDERS, deleted=True) == {}
    assert way.documents(WORK_ORDERS) == way.source(WORK_ORDERS)


def test_purge__refuses_where_a_destination_has_never_delivered(way: Way) -> None:
    """A configured destination that was never published to stops the purge with a line that names it."""
    way.load(SIGNALS)
    done = way.run("purge_tombstones", "-c", SIGNALS)
    assert done.code == 1
    assert "records_to_socrata" in done.errors[0]


def test_counts__newest_of_each_place(way: Way) -> None:
    """What places held is kept once for each, the newest, with its time; a publisher's token may keep and read it."""
    settings = env.StoreSettings(way.stack.url, way.stack.token("api_publisher"), "", "")
    postgrest = PostgREST(settings)
    source = ledger.PlaceCount(
        "app", "object_1", "prod", "source", "knack:1/object_1", 7, dt.datetime.now(dt.UTC)
    )
    store = msgspec.structs.replace(source, place="store", held=6, missing=1)
    ledger.keep_counts(postgrest, [source, store])
    first = ledger.read_counts(postgrest, app="app", container="object_1", env="prod")
    ledger.keep_counts(postgrest, [msgspec.structs.replace(store, held=7, missing=0)])
    ledger.keep_counts(postgrest, [msgspec.structs.replace(source, container="object_2")])
    found = ledger.read_counts(postgrest, app="app", container="object_1")
    assert [(one.place, one.held, one.missing) for one in first] == [("source", 7, 0), ("store", 6, 1)]
    assert [(one.place, one.held, one.missing) for one in found] == [("source", 7, 0), ("store", 7, 0)]
    assert found[0].counted_at == first[0].counted_at < found[1].counted_at
