"""Full runs among incremental ones: once a period, whatever happens to them."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest

from dev import stack as stacks
from services.utils import due, runs
from services.utils.cli import Args
from services.utils.env import StoreSettings
from services.utils.errors import PublishError
from services.utils.postgrest import PostgREST
from services.utils.records import Reject

DESTINATION = "socrata:data.example.org/abcd-1234"
ARGS = Args("records_to_socrata", "app", "object_1", "prod", since_last=True, full_every="@weekly")


@pytest.fixture
def postgrest(clean_store: stacks.Stack) -> PostgREST:
    """A publisher on an empty ledger."""
    return PostgREST(StoreSettings(clean_store.url, "", clean_store.jwt_secret, "api_publisher"))


def run_through(postgrest: PostgREST, refused: bool = False, **changes: Any) -> bool:
    """Run once; whether it was a full run."""
    with runs.record_run(postgrest, Args(**{**ARGS.__dict__, **changes}), DESTINATION) as run:
        if refused:
            run.reject(Reject("r1", "field_1: too long", {}))
    return run.is_full


def age(stack: stacks.Stack, days: int = 7) -> None:
    """Let so many days pass."""
    stack.execute(f"update api.runs set started_at = started_at - interval '{days} days'")


def test_full_every__once_a_period(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """The first run of a week is a full one, all others are incremental, run again as often as one likes."""
    assert run_through(postgrest)
    assert not run_through(postgrest)
    for _ in range(2):
        age(clean_store)
        assert [run_through(postgrest) for _ in range(3)] == [True, False, False]


def test_full_every__late(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """Where nothing ran for many weeks, the first run is a full one, and it is the only one."""
    run_through(postgrest)
    age(clean_store, 100)
    assert [run_through(postgrest) for _ in range(2)] == [True, False]


def test_full_every__a_failed_one_is_tried_again(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A full run that fails leaves the next one a full run, until one ends well."""
    run_through(postgrest)
    age(clean_store)
    for _ in range(2):
        with contextlib.suppress(PublishError), runs.record_run(postgrest, ARGS, DESTINATION) as run:
            raise PublishError("The portal said no.")
        assert run.is_full
    assert [run_through(postgrest) for _ in range(2)] == [True, False]


def test_full_every__refused_records_do_not_repeat_it(
    postgrest: PostgREST, clean_store: stacks.Stack
) -> None:
    """A full run that refused a record counts: the same record would make every run a full one."""
    run_through(postgrest)
    age(clean_store)
    assert run_through(postgrest, refused=True)
    assert not run_through(postgrest)


@pytest.mark.parametrize("other", [{"container": "object_2"}, {"app_name": "app2"}, {"env": "dev"}])
def test_full_every__of_the_same_work_only(
    postgrest: PostgREST, clean_store: stacks.Stack, other: dict[str, str]
) -> None:
    """A full run of another container that feeds the same dataset says nothing of this one."""
    run_through(postgrest)
    age(clean_store)
    run_through(postgrest, since_last=False, **other)
    assert run_through(postgrest)


def test_full_every__a_full_run_by_hand_counts(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """A full run that somebody started since one was due is the one of this week."""
    run_through(postgrest)
    age(clean_store)
    assert run_through(postgrest, since_last=False)
    assert not run_through(postgrest)


def test_is_due__an_incremental_run_is_no_full_one(postgrest: PostgREST, clean_store: stacks.Stack) -> None:
    """Any run that ended well counts for what is to be done at all, a full one alone for a full one."""
    run_through(postgrest)
    age(clean_store)
    assert due.is_due(postgrest, ARGS, DESTINATION, "@weekly")
    assert not run_through(postgrest, full_every="")
    assert not due.is_due(postgrest, ARGS, DESTINATION, "@weekly")
    assert due.is_due(postgrest, ARGS, DESTINATION, "@weekly", whole=True)
