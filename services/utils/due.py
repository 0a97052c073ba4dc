"""Whether the ledger says that a run is due: a whole one among incremental ones, or any at all.

The ledger decides, not the hour: a run that came late, failed or was killed leaves its work due, one that ended well
leaves nothing, however often it is asked again.
"""

from __future__ import annotations

import datetime as dt
import logging

import msgspec

from services.utils.cli import Args
from services.utils.postgrest import PostgREST
from services.utils.schedules import find_last

log = logging.getLogger(__name__)

# The ledger's clock and this machine's may differ by so much: a run on the stroke counts for the time it stands at.
SKEW = dt.timedelta(seconds=10)


def is_due(store: PostgREST, args: Args, destination: str, when: str, *, whole: bool = False) -> bool:
    """Whether no run has been begun, and ended well, since it was last due.

    Args:
        args: whose script, app, container and env count. when: how often it is due, as in a container's `schedule`.
        whole: only runs that covered everything count; one that refused some records ended well enough: they
            would be refused again however often all is sent.
    """
    due_at = find_last(when, dt.datetime.now(dt.UTC))
    params = [
        ("select", "started_at"),
        ("script", f"eq.{args.script}"),
        ("app", f"eq.{args.app_name}"),
        ("container", f"eq.{args.container}"),
        ("destination", f"eq.{destination}"),
        ("env", f"eq.{args.env}"),
        ("status", "in.(ok,partial)" if whole else "eq.ok"),
        ("started_at", f"gte.{(due_at - SKEW).isoformat()}"),
        ("limit", "1"),
    ]
    if whole:
        # A shard is a part of everything; its finishing run stands for all of it.
        params += [("since", "is.null"), ("shard", "is.null")]
    if msgspec.json.decode(store.select("runs", params, what="runs since it was due")):
        return False
    log.info(
        "%s was due at %s (%s)",
        "a full run" if whole else "this",
        due_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        when,
    )
    return True
