"""Checking a configuration: what it says of itself, what the systems say of it, what changed at the source.

findings.py  a finding, a report of them
offline.py   settings, containers beside one another, the environment
online.py    every system in turn:
asking.py      one that is down is one finding
stores.py      the token, the schema
origins.py     Knack and ODK: containers, fields, what is new there
targets.py     datasets, layers, buckets: columns against fields
kinds.py       whether a column takes what a field gives
"""

from collections.abc import Sequence

from services.utils.checking.findings import ERROR, NOTE, WARNING, Finding, Report
from services.utils.checking.offline import check_offline, choose_containers, list_systems
from services.utils.containers import Container


def check_online(chosen: Sequence[Container], report: Report) -> None:
    """See `online.check_online`."""
    # With every source and destination behind it: not for `--help`.
    from services.utils.checking import online

    online.check_online(chosen, report)


__all__ = [
    "ERROR",
    "NOTE",
    "WARNING",
    "Finding",
    "Report",
    "check_offline",
    "check_online",
    "choose_containers",
    "list_systems",
]
