"""How does the store's cost grow with what it holds?

The same work on a container of N / 10 and of N small documents (150 bytes), by PostgREST, as the program does it:
pages at the beginning and the end, an incremental read of a thousand changes, a thousand documents written that are
unchanged, changed, new, and what closes a full replace. N is a million; 10,000,000 takes a quarter of an hour.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from benchmarks import ground
from benchmarks.reading.question import measure as measure_pages
from benchmarks.table import print_table
from dev import stack as stacks
from services.utils.records import Counts
from services.utils.store import Store

PAGE = 1000
SIZES = """
    select pg_table_size('api.knack') / 1e6, pg_relation_size('api.knack_pkey') / 1e6,
        pg_relation_size('api.knack_app_id_container_id_updated_at_record_id_idx') / 1e6
"""


def run(records: int, repeats: int) -> bool:
    """Print the table; always True: what is shown is how it grows."""
    records = max(records, 1_000_000) if records >= 50_000 else records
    small, large = measure(records // 10, repeats), measure(records, repeats)
    rows = [[name, small[name], large[name], large[name] / max(small[name], 1e-9)] for name in large]
    print_table(["", f"{records // 10:,}", f"{records:,}", "ratio"], rows)
    return True


def measure(records: int, repeats: int) -> dict[str, float]:
    """{what: milliseconds or MB}."""
    with stacks.run() as stack:
        found: dict[str, float] = {"fill by SQL, s": ground.lay(stack, records)}
        table, key, times = map(float, stack.execute(SIZES)[0])
        found |= {"table, MB": table, "primary key, MB": key, "index by time, MB": times}
        store = ground.open_store(stack)
        pages = measure_pages(store, records, repeats, offsets=False)
        found |= {f"1,000 {name}, ms": took for name, took in pages.items()}
        found |= measure_writing(stack, store, records, repeats)
        found |= measure_closing(stack, store, records)
        return found


def measure_writing(stack: stacks.Stack, store: Store, records: int, repeats: int) -> dict[str, float]:
    """Milliseconds of loading a page and of reading what changed."""
    step = records // PAGE
    held = {ground.name_record(1 + step * n): b"" for n in range(PAGE)}
    kept = {d.record_id: d.record for d in store.read_documents(list(held))}
    rounds = iter(range(10_000))

    def load(records: dict[str, bytes], **wanted: int) -> None:
        counts = store.load(iter([list(records.items())]), on_reject=print)
        if counts != Counts(read=PAGE, **wanted):
            raise ValueError(f"{wanted} were to come of it: {counts}")

    def change() -> None:
        mark = b"%d" % next(rounds)
        load(dict.fromkeys(kept, b'{"changed":' + mark + b"}"), updated=PAGE)

    def add() -> None:
        mark = next(rounds)
        load({f"new-{mark}-{n}": b"{}" for n in range(PAGE)}, inserted=PAGE)

    times = 5 * repeats
    found = {"load 1,000 unchanged, ms": ground.take_median(times, lambda: load(kept, unchanged=PAGE))}
    since = stack.execute("select clock_timestamp()::text")[0][0].replace(" ", "T")
    change()
    found["read 1,000 changed, ms"] = ground.take_median(
        times, lambda: expect(PAGE, sum(1 for _ in store.read(since=since)))
    )
    found["load 1,000 changed, ms"] = ground.take_median(times, change)
    found["load 1,000 new, ms"] = ground.take_median(times, add)
    return found


def measure_closing(stack: stacks.Stack, store: Store, records: int) -> dict[str, float]:
    """Milliseconds of what a full load asks at its beginning and its end, where 15 records have gone."""
    run = stack.execute(
        "insert into api.runs (script, destination) values ('benchmark', 'ground') returning run_id::text"
    )[0][0]
    stack.execute(
        f"""
        insert into api.load_pages (run_id, page, record_ids)
        select '{run}', p, array(
            select lpad(to_hex(n), 24, '0')
            from generate_series((p - 1) * {PAGE} + 1, least(p * {PAGE}, {records} - 15)) n
        )
        from generate_series(1, {records // PAGE}) p
        """
    )
    stack.execute("update api.runs set started_at = now()")
    found = {"count what is alive, ms": ground.take_median(3, store.count_alive)}
    missing: list[str] = []

    def find() -> None:
        missing[:] = store.find_missing(run).record_ids

    found["find what was not seen, ms"] = ground.take_median(3, find)
    gone = [record_id for record_id in missing if not record_id.startswith("new-")]
    expect(15, len(gone))
    found["remove 15, ms"] = timed(lambda: expect(15, store.remove(run, gone)))
    return found


def timed(do: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    started = time.monotonic()
    do()
    return 1000 * (time.monotonic() - started)


def expect(wanted: int, found: int) -> None:
    """Raises: ValueError if they differ."""
    if wanted != found:
        raise ValueError(f"{found} instead of {wanted}")
