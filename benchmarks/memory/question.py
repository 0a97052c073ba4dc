"""Does memory stay flat, however many records there are?

Every script runs as a child process on N / 5 and on N records. Required: no peak above 150 MB, and none that
grows by more than a tenth.
"""

from __future__ import annotations

from benchmarks.table import print_table
from benchmarks.world import Figures, open_world

LIMIT_MB = 150.0
GROWTH = 1.10
# A fifth of fewer does not fill the queues: growth is judged from here on.
FULL = 50_000
STEPS = (
    ("load, all new", "records_to_postgrest"),
    ("load, unchanged", "records_to_postgrest"),
    ("Socrata, all new", "records_to_socrata"),
    ("Socrata, again", "records_to_socrata"),
    ("ArcGIS, all new", "records_to_agol"),
    ("ArcGIS, unchanged", "records_to_agol"),
    ("compare all places", "reconcile"),
)


def run(records: int, repeats: int) -> bool:
    """Print the table; whether the bounds were kept."""
    small, large = measure(records // 5), measure(records)
    print()
    rows = []
    fits = True
    for name, _ in STEPS:
        growth = large[name].peak_mb / small[name].peak_mb
        kept = max(small[name].peak_mb, large[name].peak_mb) <= LIMIT_MB
        kept = kept and (growth <= GROWTH or records < FULL)
        fits = fits and kept
        verdict = "ok" if kept else "OUT OF BOUNDS"
        rows.append([name, small[name].peak_mb, large[name].peak_mb, growth, verdict])
    print_table(["peak memory, MB", f"{records // 5:,}", f"{records:,}", "ratio", ""], rows)
    return fits


def measure(records: int) -> dict[str, Figures]:
    """Run every step on so many records, and print what each took."""
    found: dict[str, Figures] = {}
    with open_world(records) as world:
        for name, script in STEPS:
            found[name] = world.run(script)
    head = [
        "records",
        "read",
        "changed",
        "refused",
        "seconds",
        "CPU s",
        "simulators",
        "PostgREST",
        "PostgreSQL",
    ]
    rows = []
    for name, step in found.items():
        said = step.summary
        changed = said["inserted"] + said["updated"] + said["deleted"]
        rows.append(
            [name, said["read"], changed, said["rejected"], step.seconds, step.cpu_s]
            + [step.simulators_s, step.postgrest_s, step.postgres_s]
        )
    head[0] = f"{records:,} records"
    print_table([*head, "peak MB"], [[*row, step.peak_mb] for row, step in zip(rows, found.values())])
    return found
