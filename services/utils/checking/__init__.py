"""Checking a configuration: what it says of itself, what the systems say of it, what changed at the source.

findings.py  a finding, a report of them
offline.py   settings, containers beside one another, the environment
"""

from services.utils.checking.findings import ERROR, NOTE, WARNING, Finding, Report
from services.utils.checking.offline import check_offline, choose_containers, list_systems

__all__ = [
    "ERROR",
    "NOTE",
    "WARNING",
    "Finding",
    "Report",
    "check_offline",
    "choose_containers",
    "list_systems",
]
