"""What changed between a submission's versions, as `.../diffs` tells it."""

from __future__ import annotations

from typing import Any

from dev.simulators.odk.instances import Node
from dev.simulators.odk.schema import REPEAT, Element, Schema
from dev.simulators.odk.store import Submission

Change = dict[str, Any]


def list_diffs(submission: Submission, schema: Schema) -> dict[str, list[Change]]:
    """Changes by the instance id of the version that brought them, newest version first."""
    versions = submission.versions
    return {
        new.instance_id: _compare(old.instance.nodes, new.instance.nodes, schema.root, [])
        for old, new in reversed(list(zip(versions, versions[1:])))
    }


def _compare(old: list[Node], new: list[Node], parent: Element, path: list[Any]) -> list[Change]:
    before, after = _index(old, parent), _index(new, parent)
    changes: list[Change] = []
    for key in [*before, *(key for key in after if key not in before)]:
        name, index = key
        child = parent.children.get(name)
        here = [*path, [name, index] if child is not None and child.type == REPEAT else name]
        one, two = before.get(key), after.get(key)
        if isinstance(one, list) and isinstance(two, list) and child is not None:
            changes.extend(_compare(one, two, child, here))
        elif one != two:
            change: Change = {}
            if one is not None:
                change["old"] = _show(one)
            if two is not None:
                change["new"] = _show(two)
            changes.append({**change, "path": here})
    return changes


def _index(nodes: list[Node], parent: Element) -> dict[tuple[str, int], str | list[Node]]:
    found: dict[tuple[str, int], str | list[Node]] = {}
    counts: dict[str, int] = {}
    for name, content in nodes:
        child = parent.children.get(name)
        index = counts.get(name, 0) if child is not None and child.type == REPEAT else 0
        counts[name] = index + 1
        found[name, index] = content
    return found


def _show(content: str | list[Node]) -> Any:
    return content if isinstance(content, str) else {name: _show(inner) for name, inner in content}
