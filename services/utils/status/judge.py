"""How a script stands on a container: by its latest runs and its schedule. Looks at no clock and no network."""

from __future__ import annotations

import datetime as dt
import re
import shlex
from functools import lru_cache

from services.utils import schedules
from services.utils.ledger import Standing
from services.utils.schedules import Schedule
from services.utils.status.cures import find_cure

# Scripts that a schedule for what changed starts, with --since-last; the others run when somebody wants them to.
FOLLOWING = (
    "records_to_postgrest",
    "records_to_socrata",
    "records_to_agol",
    "records_to_knack",
    "attachments_to_s3",
)

CURE_OVERDUE = "Nothing runs it: look at the scheduler (Airflow, cron, a loop that ended), or run it by hand."
CURE_DEAD = "Its process ended without a word (memory, power). Run it again: it takes the dead run's place."
CURE_LATE = "It has missed one run: look whether the scheduler (Airflow, cron) is at work."
CURE_AWAY = (
    "The system that is named did not answer, or answered that it is in trouble. The next run tries again by itself; "
    "if this goes on, ask those who run that system."
)
CURE_FAILED = "The line says what to do. Then run it again."
CURE_PARTIAL = (
    "Some records were refused, each with its reason: correct them at the source, or the column or field."
)
CURE_NEVER = "It is configured, and has never run."
# As the session says it of systems that are not there: it asked again until its patience ended.
_AWAY = re.compile(r"gave up after \d+ tr")
GRACE = dt.timedelta(hours=1)


def judge(
    standing: Standing | None, when: str, now: dt.datetime
) -> tuple[str, str, dt.datetime | None, dt.datetime | None]:
    """(tone, words, since when, when a run was or is due) of a script on a container.

    Args:
        standing: its latest run; None if it never ran. when: its schedule, "" where none is known.
    A run is late when the time it was due has passed, and overdue when the next one has passed as well; each with
    some time (until the next one, an hour at most) for the run itself and for a scheduler that is busy.
    """
    if standing is None:
        return "warn", "never ran", None, None
    due = find_due(when, standing.last_done_at)
    state = standing.state
    if standing.failures:
        times = "failed" if standing.failures == 1 else f"failed {standing.failures} times in a row"
        if state == "dead":
            times = "died" if standing.failures == 1 else f"{times}, the last one died"
        again = ", running again now" if state == "running" else ""
        return "bad", times + again, standing.failing_since, due
    if state == "running":
        return "busy", "running", standing.started_at, due
    if due is not None:
        after = schedules.find_next(when, due)
        grace = min(after - due, GRACE)
    if due is not None and now > due + grace:
        if now > after + grace:
            return "bad", "overdue", due, due
        return "warn", "late", due, due
    if state == "partial" or standing.open_rejects:
        return "warn", f"{standing.open_rejects or standing.rejected:,} refused", standing.started_at, due
    if state == "stopped":
        return "warn", "stopped before it was done", standing.started_at, due
    return "good", "ok", standing.last_done_at, due


def judge_full(standing: Standing | None, when: str, now: dt.datetime) -> tuple[str, dt.datetime] | None:
    """(what is wrong, since when) with the loads of everything, by which deleted records are found; None if nothing."""
    if standing is None or not when or standing.last_done_at is None:
        return None
    if standing.last_full_at is None:
        return "never loaded as a whole", standing.started_at
    due = schedules.find_next(when, standing.last_full_at)
    if now > schedules.find_next(when, due):
        return "no load of everything, so deleted records stay", due
    return None


def choose_when(script: str, schedule: Schedule | None) -> str:
    """The part of a schedule that a script follows; "" for none."""
    if schedule is None:
        return ""
    if script == "metadata_to_postgrest":
        return schedule.metadata
    return (schedule.changes or schedule.full) if script in FOLLOWING else ""


def advise(standing: Standing | None, words: str, tone: str, error: str) -> str:
    """What to do, in one or two sentences; "" where nothing is to be done."""
    if tone not in ("bad", "warn"):
        return ""
    if standing is None:
        return CURE_NEVER
    if standing.failures:
        known = find_cure(error)
        if standing.state == "dead" and not known:
            return CURE_DEAD
        return known or (CURE_AWAY if _AWAY.search(error) else CURE_FAILED)
    if words in ("overdue", "late"):
        return CURE_OVERDUE if words == "overdue" else CURE_LATE
    if standing.state == "stopped":
        return "It was told to stop. What it wrote is whole; the next run finishes."
    return CURE_PARTIAL if words.endswith("refused") else ""


def build_command(script: str, app: str, container: str, env: str, dest: str = "") -> str:
    """The command that runs a script again, for a shell; "" where it cannot be said.

    dest: of records_to_knack: the app it copies to, "" where that is not known.
    """
    words = ["python", f"services/{script}.py", "-a", app]
    if container:
        words += ["-c", container]
    if env:
        words += ["-e", env]
    if script == "records_to_knack":
        words += ["-dest", dest]
    if script in FOLLOWING:
        words.append("--since-last")
    if script == "reconcile":
        # What stands in the ledger was a repair.
        words.append("--repair")
    return " ".join(map(shlex.quote, words)) if script and app and all(words) else ""


@lru_cache(maxsize=4096)
def find_due(when: str, last: dt.datetime | None) -> dt.datetime | None:
    """When the run after the last one is due; None without a schedule or a run."""
    return schedules.find_next(when, last) if when and last is not None else None
