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
_BOOL = msgspec.json.Decoder(bool)


def is_due(store: PostgREST, args: Args, destination: str, when: str, *, whole: bool = False) -> bool:
    """Whether no run has been begun, and ended well, since it was last due.

    Args:
        args: whose script, app, container and env count. when: how often it is due, as in a container's `schedule`.
        whole: only runs that covered everything count; one that refused some records ended well enough.
    """
    asked = {
        "script": args.script,
        "app": args.app_name,
        "container": args.container,
        "destination": destination,
        "env": args.env,
        "due_at": find_due(when).isoformat(),
        "whole": whole,
    }
    due = store.call_as("is_due", asked, _BOOL, reads=True, what="runs since it was due")
    if due:
        tell_due(when, whole=whole)
    return due


def find_due(when: str) -> dt.datetime:
    """From when on a run counts for the time at which it was last due."""
    return find_last(when, dt.datetime.now(dt.UTC)) - SKEW


def tell_due(when: str, *, whole: bool) -> None:
    """Say that a run is due."""
    log.info(
        "%s was due at %s (%s)",
        "a full run" if whole else "this",
        find_last(when, dt.datetime.now(dt.UTC)).strftime("%Y-%m-%dT%H:%M:%SZ"),
        when,
    )
