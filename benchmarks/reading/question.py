"""What does a page of the store cost at its beginning and at its end?

1,000 documents of a million, by PostgREST: by key (what the program does) and by offset, by id and by time of change,
the first page and the last. Medians of five times `repeats`, in turn.
"""

from __future__ import annotations

import statistics
from functools import partial

from benchmarks import ground
from benchmarks.table import print_table
from dev import stack as stacks
from services.utils.store import Store

PAGE = 1000
MOST_LAST = 2.0
KINDS = ("by id, key", "by id, offset", "by time, key", "by time, offset")


def run(records: int, repeats: int) -> bool:
    """Print the table; whether the last page by key costs at most twice the first."""
    # Depth is the question: never fewer than a million, unless a small number is asked for.
    records = max(records, 1_000_000) if records >= 50_000 else records
    with stacks.run() as stack:
        ground.lay(stack, records)
        store = ground.open_store(stack, "api_publisher")
        medians = measure(store, records, repeats)
    rows, fits = [], True
    for kind in KINDS:
        first, last = medians[f"{kind}, first"], medians[f"{kind}, last"]
        kept = "key" not in kind or last <= MOST_LAST * first
        fits = fits and kept
        rows.append([kind, first, last, last / first, "" if kept else "OUT OF BOUNDS"])
    print_table([f"{PAGE:,} of {records:,}", "first, ms", "last, ms", "last / first", ""], rows)
    return fits


def measure(store: Store, records: int, repeats: int, offsets: bool = True) -> dict[str, float]:
    """{kind and place of the page: milliseconds}."""
    ways = {name: ask for name, ask in make_ways(records).items() if offsets or "offset" not in name}
    turns = [
        {name: ground.take_median(1, partial(read, store, ask)) for name, ask in ways.items()}
        for _ in range(5 * repeats)
    ]
    return {name: statistics.median(turn[name] for turn in turns) for name in ways}


def make_ways(records: int) -> dict[str, list[tuple[str, str]]]:
    """{name: filters and order} of each page."""
    behind, late = ground.name_record(records - PAGE), ground.find_time(records - PAGE)
    by_id, by_time = [("order", "record_id")], [("order", "updated_at,record_id")]
    return {
        "by id, key, first": by_id,
        "by id, key, last": [*by_id, ("record_id", f"gt.{behind}")],
        "by id, offset, first": [*by_id, ("offset", "0")],
        "by id, offset, last": [*by_id, ("offset", str(records - PAGE))],
        "by time, key, first": [*by_time, ("updated_at", f"gte.{ground.STARTED}")],
        "by time, key, last": [
            *by_time,
            ("updated_at", f"gte.{late}"),
            ("or", f'(updated_at.gt."{late}",record_id.gt."{behind}")'),
        ],
        "by time, offset, first": [*by_time, ("offset", "0")],
        "by time, offset, last": [*by_time, ("offset", str(records - PAGE))],
    }


def read(store: Store, asked: list[tuple[str, str]]) -> None:
    """One page. Raises: ValueError if it is not whole."""
    body = store.postgrest.select(
        "knack",
        [
            *store.filters(),
            ("select", "record_id,record,updated_at,deleted_at"),
            ("limit", str(PAGE)),
            *asked,
        ],
    )
    if body.count(b'"deleted_at"') != PAGE:
        raise ValueError(f"a page of {body.count(b'deleted_at')} documents")
