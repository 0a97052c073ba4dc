"""Fields that are renamed and removed at the source, and what publishing makes of it: said, and nothing wiped."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest

from dev.demo import destinations
from services.utils import knack
from tests.scripts.conftest import DATASETS, LAYERS, SERVICE, SIGNALS, Way

PUBLISHERS = ("records_to_socrata", "records_to_agol")
OBJECT, LABEL, COLUMN = "object_12", "Signal Name", "signal_name"


def rebuild(way: Way, change: Any) -> None:
    """Have the app's builder change something: `change` gets the application."""
    metadata = copy.deepcopy(way.city.metadata)
    change(metadata["application"])
    way.knack.replace_metadata(metadata)


def rename(way: Way, label: str, new: str) -> None:
    """Give a field of the signals another name."""

    def change(application: dict[str, Any]) -> None:
        fields = next(one for one in application["objects"] if one["key"] == OBJECT)["fields"]
        next(field for field in fields if field["name"] == label)["name"] = new

    rebuild(way, change)


def hide(way: Way, label: str) -> None:
    """Take a field out of the view; the object keeps it."""
    key = way.city.key(OBJECT, label)

    def change(application: dict[str, Any]) -> None:
        views = [view for scene in application["scenes"] for view in scene["views"] if view["key"] == SIGNALS]
        for view in views:
            view["columns"] = [one for one in view["columns"] if one.get("field", {}).get("key") != key]

    rebuild(way, change)


def values(way: Way, column: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """{record id: value} in the dataset and in the layer; empty ones left out."""
    rows = {key: row[column] for key, row in way.dataset(SIGNALS).items() if row.get(column)}
    features = {
        key: one["attributes"][column]
        for key, one in way.features(SIGNALS).items()
        if one["attributes"].get(column)
    }
    return rows, features


def bring_up(way: Way) -> tuple[dict[str, Any], dict[str, Any]]:
    """Load and publish everything; what the column holds then."""
    assert way.run("metadata_to_postgrest").code == 0
    way.load(SIGNALS)
    for script in PUBLISHERS:
        done = way.run(script, "-c", SIGNALS)
        assert done.code == 0, done.stderr
        assert COLUMN not in done.stderr
    held = values(way, COLUMN)
    assert len(held[0]) == len(held[1]) == len(way.source(SIGNALS))
    return held


def warnings(stderr: str) -> list[str]:
    """Lines of the log that warn of the column."""
    return [line for line in stderr.splitlines() if " WARNING " in line and f"column {COLUMN} " in line]


def check(way: Way) -> tuple[int, list[str]]:
    """What check.py --online says of drift: (exit code, lines)."""
    done = way.run("check", "--online", "-c", SIGNALS)
    return done.code, [line for line in done.stdout.splitlines() if "drift: " in line]


def make_new_columns(way: Way) -> None:
    """Dataset and layer as somebody makes them for the names that the source has now, with the old column too."""
    stored = way.stack.execute("select metadata::text from api.knack_metadata")
    app = knack.open_app(json.loads(stored[0][0]))
    formatter = knack.compile_formatter(app, SIGNALS, location_fields=["field_212"])
    places = set(knack.name_places(formatter) or ())
    columns = destinations.make_columns(formatter, places)
    fields = destinations.make_fields(app, formatter, places)
    way.socrata.create_dataset(DATASETS[SIGNALS], {**columns, COLUMN: "text"}, row_id="id")
    del way.agol.services[SERVICE].layers[LAYERS[SIGNALS]]
    way.agol.create_layer(
        SERVICE, LAYERS[SIGNALS], fields={**fields, COLUMN: ("String", 4000)}, unique_key="id"
    )


def test_drift__a_renamed_field(quick: Way) -> None:
    """A renamed field is published until the metadata follow; then its column keeps its values, and that is said.

    It is said in every run until it is accepted, also for records that change; a check says it before.
    """
    held = bring_up(quick)
    assert check(quick) == (0, [])
    rename(quick, LABEL, "Signal Title")
    code, lines = check(quick)
    assert (code, len(lines)) == (0, 3)
    assert all(line.startswith("warning") and "called 'Signal Title' now" in line for line in lines)
    assert [f"column {COLUMN} gets no more values" in line for line in lines] == [False, True, True]
    quick.load(SIGNALS)
    for script in PUBLISHERS:
        done = quick.run(script, "-c", SIGNALS)
        assert (done.code, warnings(done.stderr)) == (0, []), done.stderr
    assert values(quick, COLUMN) == held

    assert quick.run("metadata_to_postgrest").code == 0
    edited = min(quick.source(SIGNALS))
    quick.knack.edit_record(OBJECT, edited, {quick.city.key(OBJECT, "Signal Status"): "TURNED_ON"})
    quick.load(SIGNALS)
    for flags in (("--since-last",), ()):
        for script in PUBLISHERS:
            done = quick.run(script, "-c", SIGNALS, *flags)
            assert done.code == 0, done.stderr
            (line,) = warnings(done.stderr)
            assert "is called 'Signal Title' now" in line and "keeps what it holds" in line
        assert values(quick, COLUMN) == held
    for script in PUBLISHERS:
        assert not warnings(quick.run(script, "-c", SIGNALS, "--accept-drift").stderr)
        assert not warnings(quick.run(script, "-c", SIGNALS).stderr)
    assert values(quick, COLUMN) == held


@pytest.mark.parametrize("script", PUBLISHERS)
def test_drift__frozen(quick: Way, script: str) -> None:
    """A frozen container is not published while a field that filled a column has another name: nothing is changed."""
    config = (quick.config / "knack.py").read_text(encoding="utf-8")
    frozen = config.replace('"scene_id"', '"on_drift": "freeze", "scene_id"')
    (quick.config / "knack.py").write_text(frozen, encoding="utf-8")
    held = bring_up(quick)
    rename(quick, LABEL, "Signal Title")
    code, lines = check(quick)
    assert (code, [line.split()[0] for line in lines]) == (1, ["error"] * 3)
    assert quick.run("metadata_to_postgrest").code == 0
    quick.knack.delete_record(OBJECT, min(quick.source(SIGNALS)))
    quick.load(SIGNALS)
    writes, edits = len(quick.socrata.writes(DATASETS[SIGNALS])), len(quick.agol.edits)
    done = quick.run(script, "-c", SIGNALS)
    assert (done.code, len(done.errors)) == (1, 1), done.stderr
    assert f"column {COLUMN}" in done.errors[0] and "Nothing was changed" in done.errors[0]
    assert quick.run(script, "-c", SIGNALS, "--dry-run").code == 1
    assert (len(quick.socrata.writes(DATASETS[SIGNALS])), len(quick.agol.edits)) == (writes, edits)
    assert quick.runs()[-1]["status"] == "failed"
    assert quick.run(script, "-c", SIGNALS, "--accept-drift").code == 0
    assert quick.run(script, "-c", SIGNALS).code == 0
    kept = values(quick, COLUMN)[PUBLISHERS.index(script)]
    assert kept.items() < held[PUBLISHERS.index(script)].items()


def test_drift__the_destination_has_the_new_name(quick: Way) -> None:
    """After a metadata refresh a renamed field fills the column of its new name; the old one is told of once."""
    held = bring_up(quick)
    rename(quick, LABEL, "Signal Title")
    assert quick.run("metadata_to_postgrest").code == 0
    assert len(check(quick)[1]) == 2
    make_new_columns(quick)
    for script in PUBLISHERS:
        done = quick.run(script, "-c", SIGNALS)
        assert done.code == 0, done.stderr
        (line,) = warnings(done.stderr)
        assert "fills signal_title now" in line
        assert not warnings(quick.run(script, "-c", SIGNALS).stderr)
    assert values(quick, "signal_title") == held
    assert check(quick) == (0, [])


def test_drift__a_field_that_records_have_no_more(quick: Way) -> None:
    """A field that a view does not show any more wipes no column, loaded in full or not, refreshed or not."""
    held = bring_up(quick)
    hide(quick, LABEL)
    assert any("is not there any more, or not shown" in line for line in check(quick)[1])
    edited = min(quick.source(SIGNALS))
    quick.knack.edit_record(OBJECT, edited, {quick.city.key(OBJECT, "Signal Status"): "TURNED_ON"})
    quick.load(SIGNALS, "--since-last")
    for step in ("--since-last", "", "metadata"):
        if step == "metadata":
            assert quick.run("metadata_to_postgrest").code == 0
        if not step:
            quick.load(SIGNALS)
        for script in PUBLISHERS:
            done = quick.run(script, "-c", SIGNALS, *filter(None, [step if step != "metadata" else ""]))
            assert done.code == 0, done.stderr
            (line,) = warnings(done.stderr)
            assert ("the newest document" in line) is (step != "metadata")
            assert ("is not there any more" in line) is (step == "metadata")
        assert values(quick, COLUMN) == held
