"""check.py --online against everything a script can reach: what it sees, and that it writes nothing."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from dev.simulators.odk import OdkSimulator
from dev.simulators.s3 import S3Simulator
from services.utils.postgrest import mint_token
from tests.scripts.conftest import APP, DATASETS, LAYERS, SERVICE, SIGNALS, WORK_ORDERS, Done, Way

SOCRATA = f"dataset {DATASETS[SIGNALS]}"


def check(way: Way, *flags: str, app: str = APP, **changed: str | None) -> Done:
    """The script, impatient."""
    return way.run("check", "--online", *flags, app=app, **{"RETRY_SECONDS": "1", **changed})


def read_lines(done: Done, *levels: str) -> list[str]:
    """The findings of these levels."""
    return [line for line in done.stdout.splitlines()[:-1] if line.split()[0] in levels]


def change_config(way: Way, old: str, new: str) -> None:
    """Edit the configuration of the way."""
    file = way.config / "knack.py"
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new, 1), encoding="utf-8")


def test_check__what_is_sound(quick: Way) -> None:
    """All that is as it should be is no error; everything was asked, and nothing written anywhere."""
    assert quick.run("metadata_to_postgrest").code == 0
    quick.load(SIGNALS)
    rows, edits = quick.count_rows(), len(quick.agol.edits)
    for simulator in (quick.knack, quick.socrata, quick.agol):
        simulator.requests.clear()
    done = check(quick)
    assert (done.code, read_lines(done, "error")) == (0, []), done.stdout
    assert (done.summary["status"], done.summary["read"], done.summary["errors"]) == ("ok", 2, 0)
    assert done.summary["warnings"] == len(read_lines(done, "warning"))
    assert {seen.method for seen in (*quick.knack.requests, *quick.socrata.requests)} == {"GET"}
    assert len(quick.knack.requests) == 3 and len(quick.socrata.requests) == 2
    assert {seen.path.rpartition("/")[2] for seen in quick.agol.requests} == {
        *("generateToken", SERVICE, "FeatureServer", "0", "1")
    }
    assert (quick.count_rows(), len(quick.agol.edits)) == (rows, edits)


def test_check__what_is_not(quick: Way) -> None:
    """Each thing that is wrong outside is an error or warning that names it, all in one run, with exit 1."""
    quick.run("metadata_to_postgrest")
    change_config(quick, '"scene_50"', '"scene_51"')
    change_config(quick, '"modified_date_field_id": "field_246"', '"modified_date_field_id": "field_240"')
    change_config(
        quick, '"location_fields": ["field_212"]', '"location_fields": ["field_212"], "fields": ["Nmae"]'
    )
    columns = {"id": "number", "signal_name": "calendar_date", "signal_id": "point", "other": "text"}
    quick.socrata.create_dataset(DATASETS[SIGNALS], columns, row_id=None)
    del quick.agol.services[SERVICE].layers[LAYERS[SIGNALS]]
    fields: dict[str, tuple[Any, ...]] = {"id": ("String", 12), "signal_name": ("Integer",)}
    quick.agol.create_layer(SERVICE, LAYERS[SIGNALS], fields=fields)
    done = check(quick, "-c", SIGNALS)
    assert (done.code, done.summary["status"]) == (1, "failed"), done.stdout
    errors = "\n".join(read_lines(done, "error"))
    for words in (
        "scene_id is 'scene_51', and it is on scene_50",
        "cannot be loaded by field_240",
        "fields names 'Nmae'",
        f"{SOCRATA} has no row identifier",
        "the field id takes 12 characters, and a key has up to 24",
    ):
        assert words in errors
    assert "has no unique index" in "\n".join(read_lines(done, "warning"))

    change_config(quick, ', "fields": ["Nmae"]', "")
    errors = "\n".join(read_lines(check(quick, "-c", SIGNALS), "error", "warning", "note"))
    for words in (
        f"{SOCRATA}: id (number) takes nothing of what",
        f"{SOCRATA}: signal_id (point) takes nothing of what",
        f"{SOCRATA}: signal_name (calendar_date) takes only some of what",
        "signal_name (Integer) takes only some of what",
        f"{SOCRATA}: no field fills other",
        f"{SOCRATA} has no column for ",
    ):
        assert words in errors, errors


def test_check__a_field_that_the_view_hides(quick: Way) -> None:
    """A date field that the view does not show cannot be filtered by: an error, before any load."""
    metadata = copy.deepcopy(quick.city.metadata)
    views = [view for scene in metadata["application"]["scenes"] for view in scene["views"]]
    view = next(view for view in views if view["key"] == SIGNALS)
    view["columns"] = [one for one in view["columns"] if one.get("field", {}).get("key") != "field_246"]
    quick.knack.replace_metadata(metadata)
    done = check(quick, "-c", SIGNALS)
    assert done.code == 1
    assert any("has no field 'field_246'" in line for line in read_lines(done, "error")), done.stdout


def test_check__a_system_that_is_down(quick: Way) -> None:
    """What does not answer is one finding, however many containers need it; all others are still asked."""
    quick.run("metadata_to_postgrest")
    quick.socrata.create_dataset(DATASETS[SIGNALS], {"id": "text"}, row_id=None)
    nowhere = "http://127.0.0.1:9"
    done = check(quick, AGOL_URL=nowhere)
    errors = read_lines(done, "error")
    assert (done.code, len(errors)) == (1, 2), done.stdout
    assert f"{SOCRATA} has no row identifier" in errors[0]
    assert errors[1].startswith("error    ArcGIS Online")
    done = check(quick, KNACK_API_URL=nowhere, PGREST_ENDPOINT=nowhere, SOCRATA_PASSWORD="wrong")
    assert [line.split()[1] for line in read_lines(done, "error")] == ["the", "Knack", "Socrata"], done.stdout
    (line,) = read_lines(check(quick, "-c", WORK_ORDERS, KNACK_API_KEY="wrong"), "error")
    assert "KNACK_API_KEY is not this application's key" in line


def test_check__a_system_that_hangs(quick: Way) -> None:
    """One that takes a request and never answers does not keep the check from its end."""
    quick.agol.faults.add("hang", times=None, seconds=30.0)
    done = check(quick, "-c", SIGNALS)
    (line,) = read_lines(done, "error")
    assert line.startswith("error    ArcGIS Online") and "no answer in time" in line, done.stdout


@pytest.mark.parametrize(
    ("role", "lifetime_s", "level", "words"),
    [
        ("api_reader", 8_000_000, "error", "role is 'api_reader'"),
        ("api_publisher", 8_000_000, "note", "publishes only"),
        ("api_user", 3600, "warning", "expires at"),
        ("api_user", -3600, "error", "expired at"),
    ],
)
def test_check__tokens(quick: Way, role: str, lifetime_s: int, level: str, words: str) -> None:
    """A token of the wrong role, one that ends soon or has ended is told of, and never shown."""
    token = mint_token(quick.stack.jwt_secret, role, lifetime_s)
    done = check(quick, "-c", SIGNALS, PGREST_JWT=token, PGREST_JWT_SECRET=None, PGREST_ROLE=None)
    assert any(words in line for line in read_lines(done, level)), done.stdout
    assert done.code == (1 if level == "error" else 0), done.stdout
    assert token not in done.stdout + done.stderr


def test_check__schema(quick: Way) -> None:
    """A database that lacks a migration, has one more or another file is told of."""
    kept = quick.stack.execute("select name, digest from store.migrations order by name")
    last, first = kept[-1][0], kept[0][0]
    try:
        quick.stack.execute("delete from store.migrations where name = %s", (last,))
        quick.stack.execute("update store.migrations set digest = 'x' where name = %s", (first,))
        quick.stack.execute("insert into store.migrations (name, digest) values ('9999_add_more.sql', 'x')")
        done = check(quick, "-c", SIGNALS)
    finally:
        quick.stack.execute("delete from store.migrations")
        for name, digest in kept:
            quick.stack.execute("insert into store.migrations (name, digest) values (%s, %s)", (name, digest))
    assert any(f"lacks {last}. Run migrate.py" in line for line in read_lines(done, "error")), done.stdout
    said = "\n".join(read_lines(done, "warning"))
    assert "has 9999_add_more.sql" in said and f"{first} is not the file that was applied" in said


FORMS = {
    "trees": {"attachments": {}},
    "draft": {},
    "secret": {},
    "done": {},
    "nowhere": {},
    "keyed": {"form_id": "trees", "record_key": "tag", "exclude_fields": ["hieght"]},
    "elsewhere": {"project_id": 7},
    "leaves": {"form_id": "trees", "repeat": "leaf"},
}


def test_check__forms(quick: Way) -> None:
    """Forms that are drafts, encrypted, closed, not there or not to be read are told of; so is the bucket."""
    with OdkSimulator() as central, S3Simulator() as s3:
        project = central.create_project("Park")
        fields = [("species", "string"), ("photo", "image"), ("leaf", "repeat"), ("leaf/colour", "string")]
        central.create_form(project, "trees", fields)
        central.create_form(project, "draft", fields, publish=False)
        central.create_form(project, "done", fields)
        central.close_form(project, "done")
        central.create_form(project, "secret", fields, key="MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8A")
        forms = {name: {"project_id": project, **settings} for name, settings in FORMS.items()}
        (quick.config / "odk.py").write_text(f"CONFIG = {{'park': {forms!r}}}", encoding="utf-8")
        env = {
            **s3.env(),
            "ODK_BASE_URL": central.url,
            "ODATA_USER": central.viewer,
            "ODATA_PASS": central.viewer_password,
        }
        done = check(quick, app="park", **env)
        found = {
            name: [line for line in done.stdout.splitlines() if f" park/{name}:" in line] for name in FORMS
        }
        said = {
            name: [line.split()[0] for line in lines if "no metadata of its form" not in line]
            for name, lines in found.items()
        }
        assert done.code == 1, done.stdout
        assert said == {
            "trees": ["note"],
            "draft": ["error"],
            "secret": ["warning"],
            "done": ["note"],
            "nowhere": ["error"],
            "keyed": ["error", "error"],
            "elsewhere": ["error"],
            "leaves": [],
        }, done.stdout
        assert "can be listed" in found["trees"][-1] and "never published" in found["draft"][-1]
        assert {seen.method for seen in s3.requests} == {"GET"} and not s3.objects()
        assert quick.run("metadata_to_postgrest", "-c", "trees", app="park", **env).code == 0
        central.publish_version(project, "trees", [*fields[1:], ("height", "decimal")])
        done = check(quick, "-c", "trees", app="park", **env)
        (warning,), notes = read_lines(done, "warning"), read_lines(done, "note")
        assert done.code == 0 and "the field species is not there any more" in warning, done.stdout
        assert "version 2 of the form" in notes[0] and "new fields" in notes[1] and "height" in notes[1]
        env |= {"ODATA_USER": central.collector, "ODATA_PASS": central.collector_password}
        done = check(quick, "-c", "trees", app="park", **{**env, "AWS_BUCKET_NAME": "another"})
        errors = read_lines(done, "error")
        assert len(errors) == 2 and "Project Viewer" in errors[0] and "no such bucket" in errors[1], (
            done.stdout
        )


def test_check__one_app_at_a_time(quick: Way) -> None:
    """The variables name one Knack app: of two, one is to be chosen."""
    change_config(quick, "CONFIG = {", 'CONFIG = {"other": {"object_1": {}},')
    done = check(quick, app="")
    assert (done.code, len(quick.knack.requests)) == (2, 0)
    (line,) = read_lines(done, "error")
    assert "other, traffic-operations" in line and "one by one" in line
