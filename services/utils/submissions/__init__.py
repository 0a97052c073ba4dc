"""From an ODK form into the store: joins the form's feed, what the store knows of it, and loading.

load.py      a form: all of it, or what changed
source.py    its submissions as loading sees them
changes.py   what is asked for, beside what changed
standing.py  what the store knows of it from one load to the next

What Central's filter never shows is found by comparing: restored submissions by the list of deleted ones,
late or removed media by asking again, a new form version by its digest, purged ones by counting.
"""

from services.utils.submissions.load import load_form, open_source, refresh_metadata
from services.utils.submissions.source import SubmissionSource
from services.utils.submissions.standing import Standing, read_standing

__all__ = [
    "Standing",
    "SubmissionSource",
    "load_form",
    "open_source",
    "read_standing",
    "refresh_metadata",
]
