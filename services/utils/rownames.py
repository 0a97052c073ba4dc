"""Names of rows' values where several fields would have the same one."""

from __future__ import annotations

from collections.abc import Callable, Iterable


def keep_apart(
    wanted: Iterable[tuple[str, str]], reserved: Iterable[str], spell: Callable[[str], str] = str
) -> dict[str, str]:
    """{key: name}, each name once.

    The first that wants a name has it; the others, and those that want a reserved one, end in "_<key>".

    Args:
        wanted: (key, name) in the order of the fields. spell: how a key stands in a name.
    """
    names: dict[str, str] = {}
    taken = set(reserved)
    again: list[tuple[str, str]] = []
    for key, name in wanted:
        if name in taken:
            again.append((key, name))
        names[key] = name
        taken.add(name)
    for key, name in again:
        while name in taken:
            name = f"{name}_{spell(key)}"
        names[key] = name
        taken.add(name)
    return names
