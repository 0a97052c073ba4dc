"""The invented city, records for any fields, and the wide ones."""

import copy
import json
from collections import Counter
from pathlib import Path
from random import Random

import knackpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from knackpy.record import Record

from dev.simulators.city import (
    LOCATIONS,
    SIGNALS,
    WIDE,
    WORK_ORDERS,
    blank_oddly,
    build_city,
    build_wide_app,
    make_cell,
    make_every_field,
    make_record,
    wide_records,
)
from dev.simulators.city.apps import make_metadata, make_object
from dev.simulators.knack import ABSENT, Setting, build_cell

DATA = Path(__file__).parents[2] / "data" / "knack"
FIELDS = make_every_field()
METADATA = make_metadata(
    "Every field",
    "samplecity",
    [make_object("object_1", "things", FIELDS), make_object("object_2", "others", [])],
    [],
    {},
)
SMALL = {"accounts": 4, "locations": 20, "signals": 20, "work_orders": 60}


def format_record(record):
    """A record as knackpy formats it."""
    app = knackpy.App(app_id="a", api_key="k", metadata=copy.deepcopy(METADATA))
    defs = [one for one in app.field_defs if one.obj == "object_1"]
    return Record(copy.deepcopy(record), defs, None, app.timezone).format()


@given(random=st.randoms(use_true_random=False), share=st.sampled_from([0.0, 0.3, 1.0]), odd=st.booleans())
@settings(max_examples=40, deadline=None)
def test_make_record__knackpy_formats_it(random, share, odd):
    """Any record of every type, filled or blank in any way, is one that knackpy formats."""
    record = make_record(random, FIELDS, blank_share=share, odd_blanks=odd)
    row = format_record(record)
    assert row["id"] == record["id"]
    assert len(row) == len(FIELDS) + 1
    assert json.loads(json.dumps(record)) == record


def test_make_record__same_seed_same_record():
    """Chance comes from the given source alone."""
    assert make_record(Random(5), FIELDS) == make_record(Random(5), FIELDS)
    assert make_record(Random(5), FIELDS) != make_record(Random(6), FIELDS)


def test_make_record__filled_and_blank():
    """Without blanks every field has both halves; with all blank only those that Knack never leaves."""
    filled = make_record(Random(1), FIELDS, blank_share=0)
    assert all(f"{field['key']}_raw" in filled for field in FIELDS)
    blank = make_record(Random(1), FIELDS, blank={field["key"] for field in FIELDS})
    kept = {field["type"] for field in FIELDS if f"{field['key']}_raw" in blank}
    assert kept == {
        *("auto_increment", "number", "equation", "boolean", "count", "sum", "average", "min", "max"),
        *("connection", "multiple_choice"),
    }


def test_make_record__nasty_text():
    """Text that breaks careless code is among the values; U+0000 only on request."""
    texts = [
        json.dumps(make_record(Random(seed), FIELDS, nasty=1, nul=nul), ensure_ascii=False)
        for nul in (False, True)
        for seed in range(40)
    ]
    for piece in ("東京", "<b>bold</b>", '\\"stop\\"', "line", "\u2028"):
        assert any(piece in text for text in texts[:40])
    assert not any("\\u0000" in text for text in texts[:40])
    assert any("\\u0000" in text for text in texts[40:])


def test_blank_oddly__kinds():
    """Blanks come as "", null, [] and, of multiple choice, [null]."""
    choice = next(field for field in FIELDS if field["type"] == "multiple_choice")
    seen = {json.dumps(blank_oddly(Random(seed), choice)[1]) for seed in range(60)}
    assert seen == {'""', "null", "[]", "[null]"}


REBUILT = {"concatenation", "equation", "file", "connection", "password", "user_roles", "image"}


@pytest.mark.parametrize("container", ["object_1", "object_4", "object_9"])
def test_build_cell__rebuilds_the_samples(container):
    """From the raw half of each sample value comes the very pair that the sample holds."""
    objects = json.loads((DATA / "metadata.json").read_text())["application"]["objects"]
    fields = next(one["fields"] for one in objects if one["key"] == container)
    checked = Counter()
    for record in json.loads((DATA / "records.json").read_text())[container]["records"]:
        for field in fields:
            key = field["key"]
            raw = record.get(f"{key}_raw", ABSENT)
            if field["type"] in REBUILT or raw is ABSENT:
                continue
            if isinstance(raw, float) and raw.is_integer():
                # The samples write a whole number as 42294.0, which Knack's own JSON cannot.
                continue
            given = raw
            if field["type"] == "date_time":
                # A date object's day is read in the field's own format, as a client writes it.
                given = {**raw, "date": raw["date_formatted"]}
                if "to" in raw:
                    given["to"] = {**raw["to"], "date": raw["to"]["date_formatted"]}
            display, made = build_cell(field, given, Setting())
            if field["type"] == "address" and field["format"]["format"] == "US" and "country" in raw:
                # A US address with a country shows it in these samples; real ones leave it out.
                display = record[key]
            assert (display, made) == (record[key], raw), key
            checked[field["type"]] += 1
    assert sum(checked.values()) >= 9


def test_build_city__same_seed_same_city():
    """A seed names one city."""
    assert build_city(2, **SMALL).records == build_city(2, **SMALL).records
    assert build_city(2, **SMALL).records != build_city(3, **SMALL).records


def test_build_city__hangs_together():
    """Connections lead to records that are there and name them; counts agree; metadata agrees with records."""
    city = build_city(2, **SMALL)
    names = {
        LOCATIONS: {one["id"]: one["field_211"] for one in city.records[LOCATIONS]},
        SIGNALS: {one["id"]: one["field_242"] for one in city.records[SIGNALS]},
        "object_1": {one["id"]: one["field_1"] for one in city.records["object_1"]},
    }
    for object_key, records in city.records.items():
        assert city.metadata["application"]["counts"][object_key] == len(records)
        for field in city.fields[object_key]:
            for record in records:
                assert field["key"] in record
                if field["type"] == "connection":
                    for link in record[f"{field['key']}_raw"]:
                        assert names[field["relationship"]["object"]][link["id"]] == link["identifier"]
    orders = Counter(link["id"] for one in city.records[WORK_ORDERS] for link in one["field_325_raw"])
    assert {one["id"]: one["field_250"] for one in city.records[SIGNALS] if one["field_250"]} == orders
    ids = [record["id"] for records in city.records.values() for record in records]
    assert len(set(ids)) == len(ids)


def test_city__key():
    """Fields are found by name; of two of one name the first."""
    city = build_city(2, **SMALL)
    assert city.key(SIGNALS, "Modified Date") == "field_246"
    assert [one["key"] for one in city.fields[WORK_ORDERS] if one["name"] == "Comments"][0] == city.key(
        WORK_ORDERS, "Comments"
    )


def test_make_cell__connections_to_what_is_given():
    """Connections draw from the records that are named, and stay blank where there are none."""
    one, many = (field for field in FIELDS if field["type"] == "connection")
    given = {"object_2": [("a" * 24, "A"), ("b" * 24, "B")]}
    for seed in range(20):
        _, single = make_cell(Random(seed), one, connected=given)
        _, several = make_cell(Random(seed), many, connected=given)
        assert len(single) == 1
        assert {link["id"] for link in single + several} <= {"a" * 24, "b" * 24}
    assert make_cell(Random(1), many, connected={}) == ("", [])


@pytest.mark.parametrize("size", [7300, 12_000])
def test_wide_records__size(size):
    """Wide records are as large as asked, of as many fields, each with its own id."""
    records = [json.loads(body) for body in wide_records(300, size=size)]
    mean = sum(map(len, wide_records(300, size=size))) / 300
    keys = {field["key"] for field in build_wide_app()["application"]["objects"][0]["fields"]}
    assert abs(mean - size) < size * 0.08
    assert all({key for key in record if not key.endswith("_raw")} == keys | {"id"} for record in records)
    assert len(keys) == 40
    assert len({record["id"] for record in records}) == 300
    assert [record["field_900"] for record in records] == list(range(1, 301))
    assert build_wide_app()["application"]["objects"][0]["key"] == WIDE
