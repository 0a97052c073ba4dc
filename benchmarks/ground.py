"""Many small documents in the store, put there by SQL: the ground on which reading and writing are measured."""

from __future__ import annotations

import datetime as dt
import statistics
import time
from collections.abc import Callable

from dev import stack as stacks
from services.utils.env import StoreSettings
from services.utils.postgrest import PostgREST
from services.utils.store import Store

APP, CONTAINER = "ground", "object_1"
STARTED = "2026-01-01T00:00:00Z"


def lay(stack: stacks.Stack, records: int) -> float:
    """Fill an empty api.knack with documents of 150 bytes, a millisecond after each other; seconds it took."""
    started = time.monotonic()
    # Triggers off, for this session alone: they would stamp today's time.
    stack.execute(
        f"""
        truncate api.knack;
        set session_replication_role = replica;
        insert into api.knack (app_id, container_id, record_id, record, updated_at)
        select '{APP}', '{CONTAINER}', lpad(to_hex(n), 24, '0'),
            ('{{"id":"' || lpad(to_hex(n), 24, '0') || '","field_1":"' || md5(n::text) || '","field_2":' || n
                || ',"field_3":"some words that stand in every document"}}')::json,
            '{STARTED}'::timestamptz + n * interval '1 millisecond'
        from generate_series(1, {records}) n;
        """
    )
    stack.execute("vacuum analyze api.knack")
    stack.execute("checkpoint")
    return time.monotonic() - started


def name_record(number: int) -> str:
    """The id of the document with this number, from 1."""
    return f"{number:024x}"


def find_time(number: int) -> str:
    """When the document with this number changed."""
    return (dt.datetime.fromisoformat(STARTED) + dt.timedelta(milliseconds=number)).isoformat()


def open_store(stack: stacks.Stack, role: str = "api_user") -> Store:
    """The container as the scripts see it."""
    return Store(PostgREST(StoreSettings(stack.url, "", stack.jwt_secret, role)), "knack", APP, CONTAINER)


def take_median(times: int, do: Callable[[], object]) -> float:
    """Milliseconds that a call takes."""
    found = []
    for _ in range(times):
        started = time.monotonic()
        do()
        found.append(time.monotonic() - started)
    return 1000 * statistics.median(found)
