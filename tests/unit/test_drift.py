"""Which columns are not filled as they were, and whether a column takes what a field gives."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from services.utils import agol, drift, socrata
from services.utils.agol.layer import LayerField
from services.utils.checking.kinds import judge_fit
from services.utils.records import SourceField

COLUMNS = ["id", "name", "kind", "size"]


def match(names: Iterable[str]) -> dict[str, str]:
    """Columns take the row names that are equal to theirs."""
    given = set(names)
    return {column: column for column in COLUMNS if column in given}


def fields(**labels: str) -> list[SourceField]:
    """Fields by key, each with its label; the row name is the label in lower case."""
    return [SourceField(key, label, label.lower(), "short_text") for key, label in labels.items()]


KNOWN = drift.find_fillers(fields(id="id", f1="Name", f2="Kind"), match)


def compare(now: list[SourceField], columns: list[str] = COLUMNS) -> list[tuple[str, bool, str]]:
    """(column, lasting, its new filler's key or what is remembered) of each drift."""
    found = drift.compare(KNOWN, now, match, columns)
    return [
        (one.column, one.lasting, found.keep[one.column].field if one.column in found.keep else "")
        for one in found.drifts
    ]


def test_compare__nothing_changed() -> None:
    """The same fields, and more of them, are no drift."""
    assert compare(fields(id="id", f1="Name", f2="Kind", f3="Size")) == []


def test_compare__what_lasts_is_remembered() -> None:
    """A column whose field was renamed away or removed stays in memory with the field that filled it."""
    assert compare(fields(id="id", f1="Title", f2="Kind")) == [("name", True, "f1")]
    assert compare(fields(id="id", f2="Kind")) == [("name", True, "f1")]


def test_compare__what_moved_is_said_once() -> None:
    """A field that fills another column now, and a column that another field fills, are not remembered as they were."""
    assert compare(fields(id="id", f1="Size", f2="Kind")) == [("name", False, "")]
    assert compare(fields(id="id", f1="Kind", f2="Name")) == [("name", False, "f2"), ("kind", False, "f1")]
    assert compare(fields(id="id", f9="Name", f2="Kind")) == [("name", False, "f9")]


def test_compare__what_was_meant_is_no_drift() -> None:
    """A column that is gone from the destination, and a field that the configuration leaves out, are no drift."""
    assert compare(fields(id="id", f1="Title", f2="Kind"), ["id", "kind"]) == []
    left_out = [*fields(id="id", f2="Kind"), SourceField("f1", "Name", "name", "short_text", published=False)]
    assert compare(left_out) == []
    vanished = [*fields(id="id", f2="Kind"), SourceField("f1", "Name", "name", "short_text", False, True)]
    assert compare(vanished) == [("name", True, "f1")]


@pytest.mark.parametrize(
    ("type_", "column", "fit"),
    [
        ("short_text", "text", "all"),
        ("short_text", "number", "some"),
        ("date_time", "calendar_date", "all"),
        ("date_time", "number", "none"),
        ("boolean", "number", "none"),
        ("boolean", "checkbox", "all"),
        ("place", "point", "all"),
        ("geotrace", "line", "all"),
        ("geoshape", "line", "none"),
        ("equation", "number", "all"),
        ("equation", "calendar_date", "some"),
        ("number", "text", "all"),
        ("time", "calendar_date", "none"),
    ],
)
def test_judge_fit__socrata(type_: str, column: str, fit: str) -> None:
    """What a field gives is tried on the column's own formatter."""
    assert judge_fit(type_, socrata.find_formatter(column), socrata.Unfit) == fit


@pytest.mark.parametrize(
    ("type_", "column", "fit"),
    [
        ("short_text", "String", "all"),
        ("date_time", "Date", "all"),
        ("date_time", "Integer", "none"),
        ("number", "Integer", "some"),
        ("auto_increment", "Integer", "all"),
        ("boolean", "SmallInteger", "all"),
        ("id", "GUID", "none"),
        ("short_text", "Double", "some"),
    ],
)
def test_judge_fit__agol(type_: str, column: str, fit: str) -> None:
    """The same for the fields of a layer."""
    assert judge_fit(type_, agol.compile_converter(LayerField("f", column)), agol.Unfit) == fit
