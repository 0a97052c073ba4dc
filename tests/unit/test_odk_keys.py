"""What names a submission."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.utils.odk import find_key

FULL = {"UUID": "u-1", "__id": "uuid:1", "meta": {"instanceID": "uuid:2"}, "site": {"code": 7, "ok": True}}


@pytest.mark.parametrize(
    ("gone", "key"), [([], "u-1"), (["UUID"], "uuid:1"), (["UUID", "__id"], "uuid:2"), (list(FULL), None)]
)
def test_find_key__order(gone: list[str], key: str | None) -> None:
    """The UUID field, else __id, else meta/instanceID, else none."""
    assert find_key({name: value for name, value in FULL.items() if name not in gone}) == key


@pytest.mark.parametrize("empty", [None, "", "  ", {}, [], True])
def test_find_key__empty_is_none(empty: Any) -> None:
    """An empty UUID, or one that is no text, is none: the next in order counts."""
    assert find_key({**FULL, "UUID": empty}) == "uuid:1"


@pytest.mark.parametrize(
    ("path", "key"),
    [
        ("__id", "uuid:1"),
        ("site/code", "7"),
        ("/site/code", "7"),
        ("site/ok", None),
        ("site", None),
        ("site/nothing/at/all", None),
        ("UUID/deeper", None),
    ],
)
def test_find_key__chosen(path: str, key: str | None) -> None:
    """With a chosen path that field alone counts, numbers as text; nothing takes its place."""
    assert find_key(FULL, path) == key


def test_find_key__case_counts() -> None:
    """Only UUID in capitals is the UUID field."""
    assert find_key({"uuid": "u", "__id": "uuid:1"}) == "uuid:1"


@given(
    st.dictionaries(
        st.sampled_from(["UUID", "__id", "meta", "a"]),
        st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists)
        | st.dictionaries(st.text(), st.text()),
    ),
    st.sampled_from(["", "a", "a/b", "meta/instanceID", "/"]),
)
def test_find_key__anything(record: dict[str, Any], path: str) -> None:
    """Whatever a record holds, the answer is a text that is not blank, or None."""
    key = find_key(record, path)
    assert key is None or key.strip() == key != ""
