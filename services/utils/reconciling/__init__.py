"""Source, store and destinations of a container compared with one another, and brought in step.

places.py  each place: how it is compared, and repaired
report.py  all places together: what is told of them
"""

from services.utils.reconciling.places import choose_places, list_systems
from services.utils.reconciling.report import Report, reconcile

__all__ = ["Report", "choose_places", "list_systems", "reconcile"]
