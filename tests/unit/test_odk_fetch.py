"""Filters, times and rows of the feed."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.utils.errors import SourceError
from services.utils.odk import fetch

NOON = dt.datetime(2026, 11, 21, 12, 0, 0, 123999, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("when", "text"),
    [
        (NOON, "2026-11-21T12:00:00.123Z"),
        (NOON.replace(microsecond=0), "2026-11-21T12:00:00.000Z"),
        (NOON.astimezone(dt.timezone(dt.timedelta(hours=5))), "2026-11-21T12:00:00.123Z"),
    ],
)
def test_format_time__rounds_down(when: dt.datetime, text: str) -> None:
    """UTC with a Z, cut down to the millisecond that Central stores, never up."""
    assert fetch.format_time(when) == text


@given(
    st.datetimes(
        min_value=dt.datetime(1990, 1, 1), max_value=dt.datetime(2200, 1, 1), timezones=st.timezones()
    )
)
def test_format_time__never_later(when: dt.datetime) -> None:
    """What is asked for is never later than what was meant, and less than a millisecond earlier."""
    asked = dt.datetime.fromisoformat(fetch.format_time(when))
    assert dt.timedelta() <= when - asked < dt.timedelta(milliseconds=1)


def test_build_changes_filter__terms() -> None:
    """Submitted, edited or deleted since; all that are deleted; none for an older Central; more by their dates."""
    at = "2026-11-21T12:00:00.123Z"
    since = f"__system/submissionDate ge {at} or __system/updatedAt ge {at}"
    assert fetch.build_changes_filter(NOON) == f"{since} or __system/deletedAt ge {at}"
    assert fetch.build_changes_filter(NOON, deleted="all") == f"{since} or __system/deletedAt ne null"
    assert fetch.build_changes_filter(NOON, ["T1", "T2"], deleted="") == (
        f"{since} or __system/submissionDate eq T1 or __system/submissionDate eq T2"
    )


def test_read_submission__system() -> None:
    """A row's id, date and state come from __system; its bytes stay as they are."""
    record = (
        b'{"UUID": "u",  "__id":"uuid:1","__system":{"submissionDate":"2026-01-01T00:00:00.000Z",'
        b'"deletedAt":"2026-02-01T00:00:00.000Z"},"a@odata.navigationLink":"x","a@odata.navigationLink":"x"}'
    )
    found = fetch.read_submission(record)
    assert found == fetch.Submission(record, "u", "uuid:1", "2026-01-01T00:00:00.000Z", True)
    assert fetch.read_submission(record, "__id").key == "uuid:1"


@pytest.mark.parametrize("record", [b"{}", b'{"__id":3,"__system":null}', b'{"__system":{"deletedAt":null}}'])
def test_read_submission__little(record: bytes) -> None:
    """What a row lacks is empty, not an error."""
    found = fetch.read_submission(record, "species")
    assert (found.key, found.instance_id, found.submitted_at, found.deleted) == (None, "", "", False)


def test_read_submission__no_object() -> None:
    """A row that is no object is no submission."""
    with pytest.raises(SourceError, match="not a submission"):
        fetch.read_submission(b"[1]")


def test_form_state__digest() -> None:
    """A form without a hash is known by its version; what moves with every submission is left out."""
    details = {"version": "2", "hash": "h", "keyId": None, "state": "open"}
    state = fetch.FormState(details, NOON, 3)
    assert (state.digest, state.version, state.encrypted, state.closed) == ("h", "2", False, False)
    assert fetch.FormState({"version": "2"}, None, -1).digest == "2"
    assert fetch.FormState({"keyId": 1, "state": "closed"}, None, -1).encrypted
