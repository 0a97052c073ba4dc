"""What readers of a layer could see while something edits it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dev.simulators.agol.layer import Feature, Layer


@dataclass
class Watch:
    """What readers of a layer could see since the watch began; written after every committed edit.

    min_count, max_count: rows. absent: keys that were there at the start and were gone at some moment.
    doubled: keys that more than one feature had at some moment after it.
    """

    layer: Layer
    key_field: str
    min_count: int = 0
    max_count: int = 0
    absent: set[Any] = field(default_factory=set)
    doubled: set[Any] = field(default_factory=set)
    _start: dict[Any, int] = field(default_factory=dict)
    _copies: dict[Any, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.min_count = self.max_count = len(self.layer.rows)
        for object_id, feature in self.layer.rows.items():
            key = feature.attributes[self.key_field]
            self._start.setdefault(key, object_id)
            self._copies[key] = self._copies.get(key, 0) + 1

    def moved(self) -> dict[Any, tuple[int, int | None]]:
        """Keys whose object id is another one than at the start: {key: (then, now or None)}."""
        now = self.layer.find_ids(self.key_field)
        return {
            key: (then, now[key][0] if key in now else None)
            for key, then in self._start.items()
            if then not in now.get(key, [])
        }

    def note(self, before: Mapping[int, Feature | None]) -> None:
        """Take a committed edit in: the features as they were before it."""
        count = len(self.layer.rows)
        self.min_count = min(self.min_count, count)
        self.max_count = max(self.max_count, count)
        touched = set()
        for object_id, old in before.items():
            for feature, change in ((old, -1), (self.layer.rows.get(object_id), 1)):
                if feature is not None:
                    key = feature.attributes[self.key_field]
                    self._copies[key] = self._copies.get(key, 0) + change
                    touched.add(key)
        self.absent |= {key for key in touched if not self._copies[key] and key in self._start}
        self.doubled |= {key for key in touched if self._copies[key] > 1}
