"""What a scheduler may ask for every few minutes: only what is due is done."""

from __future__ import annotations

import pytest

from tests.scripts.conftest import SIGNALS, Way


def test_metadata__once_a_period(way: Way) -> None:
    """With --every, metadata are fetched again only when they are due."""
    flags = ("metadata_to_postgrest", "--every", "@daily")
    assert way.run(*flags).summary["inserted"] == 1
    way.knack.requests.clear()
    done = way.run(*flags)
    assert (done.code, done.summary["status"], done.summary["read"]) == (0, "ok", 0), done.stderr
    assert not way.knack.requests
    way.stack.execute("update api.runs set started_at = started_at - interval '1 day'")
    assert way.run(*flags).summary["read"] == 1


def test_load__full_when_due(way: Way) -> None:
    """With --full-every, one load a period is a full one: it finds what was deleted at Knack."""
    flags = ("records_to_postgrest", "-c", SIGNALS, "--since-last", "--full-every", "@weekly")
    way.run("metadata_to_postgrest")
    way.run(*flags)
    way.knack.delete_record("object_12", min(way.source(SIGNALS)))
    assert way.run(*flags).summary["deleted"] == 0
    way.stack.execute("update api.runs set started_at = started_at - interval '7 days'")
    done = way.run(*flags)
    assert (done.summary["deleted"], done.summary["since"]) == (1, None), done.stderr
    assert "a full run was due at" in done.stderr
    assert way.run(*flags).summary["since"] is not None


def test_load__says_what_is_due(way: Way) -> None:
    """With --due nothing is loaded and no run is kept; the last line says whether a full run is due."""
    flags = ("records_to_postgrest", "-c", SIGNALS, "--since-last", "--full-every", "@weekly", "--due")
    assert way.run(*flags).summary["due"] == 1
    assert way.runs() == []
    way.load(SIGNALS)
    way.knack.requests.clear()
    done = way.run(*flags)
    assert (done.code, done.summary["due"], way.knack.requests) == (0, 0, [])


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (("--full-every", "@weekly"), "goes with --since-last"),
        (("--since-last", "--full-every", "often"), "'often'"),
        (("--since-last", "--due"), "--due asks what --full-every would do"),
    ],
)
def test_load__wrong_flags(way: Way, flags: tuple[str, ...], said: str) -> None:
    """A length of time that is none, or without --since-last, is refused before anything is sent."""
    done = way.run("records_to_postgrest", "-c", SIGNALS, *flags)
    assert done.code == 2
    assert said in done.stderr
    assert not way.knack.requests
