"""How fast are records shaped as rows, against knackpy's own formatting?

Both read the same bytes and give the same values: ours is `format_rows` over documents, knackpy's is its
Record.format over json.loads. CPU time of this process, in turn, `repeats` times; medians are shown.
"""

from __future__ import annotations

import gc
import json
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any

import knackpy
from knackpy.record import Record

from benchmarks.table import print_table
from dev.simulators.city import WIDE, build_wide_app, wide_records
from services.utils import knack
from services.utils.records import Document

KNACKPY_MOST = 2000


def run(records: int, repeats: int) -> bool:
    """Print the table; whether both gave the same values."""
    records = min(records, KNACKPY_MOST)
    metadata = build_wide_app()
    bodies = list(wide_records(records))
    formatter = knack.compile_formatter(knack.open_app(metadata), WIDE)
    app = knackpy.App(app_id="a", api_key="k", metadata=build_wide_app())
    fields = [field for field in app.field_defs if field.obj == WIDE]

    def format_ours(documents: Iterable[Document]) -> list[dict[str, Any]]:
        return [row.values for row in knack.format_rows(documents, formatter, on_reject=lambda reject: None)]

    def format_knackpy(documents: Iterable[Document]) -> list[dict[str, Any]]:
        return [
            Record(json.loads(document.record), fields, None, app.timezone).format() for document in documents
        ]

    documents = [Document(str(number), body) for number, body in enumerate(bodies)]
    ways: dict[str, Callable[[Iterable[Document]], list[dict[str, Any]]]] = {
        "ours": format_ours,
        "knackpy": format_knackpy,
    }
    turns = [{way: time_way(shape, documents) for way, shape in ways.items()} for _ in range(repeats)]
    rows = []
    for way in ways:
        seconds = statistics.median(turn[way] for turn in turns)
        ratio = statistics.median(turn["knackpy"] / turn[way] for turn in turns)
        rows.append([way, round(records / seconds), 1e6 * seconds / records, ratio])
    print_table([f"{records:,} records", "records/s", "microseconds each", "times knackpy"], rows)
    same = [list(one.values()) for one in format_ours(documents)] == [
        list(one.values()) for one in format_knackpy(documents)
    ]
    print("\nThe values are the same." if same else "\nThe values DIFFER.")
    return same


def time_way(shape: Callable[[Iterable[Document]], Any], documents: list[Document]) -> float:
    """CPU seconds to shape all documents."""
    gc.collect()
    before = time.process_time()
    shape(documents)
    return time.process_time() - before
