"""What a container's DAG does: its steps, what each waits for, and the pool that keeps it alone. No Airflow here."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from services.utils.containers import SYSTEMS, Container, find_container
from services.utils.errors import ConfigError
from services.utils.schedules import Schedule, find_length_s, to_cron

# Central is asked by so many at a time; Knack by one: it counts each app's requests.
ODK_SLOTS = 4
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400


@dataclass(frozen=True)
class Step:
    """One script of a DAG.

    flags: given always. usual: given unless the run was asked to do everything. pool: "" for Airflow's own. slots: of
    that pool. whatever_before: it is tried even where a step before it failed. shards: how many share a full load, for
    the steps that know of it: `shards` finds whether one is due, `load_shard` is there for each, `load` closes it.
    dest: the Knack app that it copies to.
    """

    id: str
    script: str
    flags: tuple[str, ...]
    usual: tuple[str, ...]
    pool: str
    slots: int = 1
    after: tuple[str, ...] = ()
    whatever_before: bool = False
    shards: int = 0
    dest: str = ""


@dataclass(frozen=True)
class Pool:
    """So many slots for what must not run side by side."""

    name: str
    slots: int
    description: str


def list_containers(
    config: Mapping[str, Mapping[str, Mapping[str, Any]]], env: str, apps: Iterable[str] | None = None
) -> Iterator[Container]:
    """Every configured container, or those of some apps.

    Raises: ConfigError if one is wrong.
    """
    wanted = None if apps is None else set(apps)
    for system in SYSTEMS:
        for app, held in config[system].items():
            if wanted is None or app in wanted:
                for container_id in held:
                    yield find_container(config, app, container_id, env, SYSTEMS)


def name_dag(container: Container) -> str:
    """The DAG's id: app.container, with an underscore for what Airflow allows in no id."""
    return f"{_clean(container.app)}.{_clean(container.id)}"


def refuse_twins(containers: Iterable[Container]) -> None:
    """Two DAGs of one id: Airflow would show one of them and say nothing of the other.

    Raises: ConfigError that names both containers.
    """
    seen: dict[str, str] = {}
    for container in containers:
        name = name_dag(container)
        if name in seen:
            raise ConfigError(
                f"{seen[name]} and {container.where} would both be the DAG {name}. No DAG was built. "
                f"Rename one of them in config/{container.system}.py."
            )
        seen[name] = container.where


def plan_steps(container: Container, slots: int = 0) -> list[Step]:
    """The steps of a container's DAG, each after those it waits for.

    slots: of its app's pool, where other containers of the app need more than this one.
    """
    slots = max(slots, count_slots(container))
    schedule = container.schedule or Schedule()
    own = ("-a", container.app, "-c", container.id, "-e", container.env)
    usual = ("--since-last", *(("--full-every", schedule.full) if schedule.full else ()))
    source = name_source_pool(container)
    # What reads Knack takes the whole pool, so that it is alone; shards take a slot each.
    whole = slots if container.system == "knack" else 1
    steps = []
    # A repeat's documents and fields come with its form, whose DAG loads them.
    if not container.repeat:
        if schedule.metadata:
            # A Knack app's metadata are of the app, a form's of the form.
            flags = own if container.system == "odk" else (*own[:2], *own[4:])
            every = ("--every", schedule.metadata)
            steps.append(Step("metadata", "metadata_to_postgrest", flags, every, source, whole))
        # Old field definitions are better than old records.
        steps += _plan_load(container, own, usual, whole, tuple(step.id for step in steps))
    loaded = ("load",) if steps else ()
    if container.copies_media and not container.repeat:
        steps.append(Step("media", "attachments_to_s3", own, usual, source, 1, loaded))
    for script in container.publishers:
        name = "publish_" + script.removeprefix("records_to_")
        steps.append(Step(name, script, own, usual, name_destination_pool(container, script), 1, loaded))
    for app in container.copies_to:
        # One that writes an app at a time: it has ten requests a second in all.
        pool, to = f"knack_copy_{_clean(app)}", (*own, "-dest", app)
        steps.append(Step(f"copy_{_clean(app)}", "records_to_knack", to, usual, pool, 1, loaded, dest=app))
    return steps


def _plan_load(
    container: Container, own: tuple[str, ...], usual: tuple[str, ...], whole: int, before: tuple[str, ...]
) -> list[Step]:
    source, script, shards = name_source_pool(container), "records_to_postgrest", container.shards
    if shards == 1 or "--full-every" not in usual:
        return [Step("load", script, own, usual, source, whole, before, whatever_before=bool(before))]
    due = (*own, *usual, "--due")
    return [
        Step("shards", script, due, (), "", 1, before, whatever_before=bool(before), shards=shards),
        Step("load_shard", script, own, (), source, 1, ("shards",), shards=shards),
        Step("load", script, own, ("--since-last",), source, whole, ("load_shard",), shards=shards),
    ]


def plan_pools(containers: Iterable[Container]) -> list[Pool]:
    """The pools that the DAGs of these containers need, each once, in the order of their names."""
    pools: dict[str, Pool] = {}
    for container in containers:
        for step in plan_steps(container):
            if step.id.startswith(("publish_", "copy_")):
                pools[step.pool] = Pool(step.pool, 1, f"one writer at a time: {step.script}")
            elif step.pool:
                held = pools.get(step.pool)
                slots = max(count_slots(container), held.slots if held else 0)
                pools[step.pool] = Pool(step.pool, slots, f"what reads the app {container.app}")
    return [pools[name] for name in sorted(pools)]


def name_source_pool(container: Container) -> str:
    """The pool of what reads an app."""
    return f"{container.system}_{_clean(container.app)}"


def count_slots(container: Container) -> int:
    """The slots that a container needs in its app's pool."""
    return ODK_SLOTS if container.system == "odk" else container.shards


def name_destination_pool(container: Container, script: str) -> str:
    """The pool of what writes a dataset or layer."""
    if script == "records_to_socrata":
        return f"socrata_{container.socrata_resource_id}"
    layer = "" if container.layer_id is None else f"_{container.layer_id}"
    return f"agol_{_clean(container.service_id)}{layer}"


def plan_schedule(container: Container) -> str | dt.timedelta | None:
    """When the DAG runs: a cron expression in UTC, a length of time that no such expression has, or None."""
    schedule = container.schedule
    when = schedule and (schedule.changes or schedule.full or schedule.metadata)
    if not when:
        return None
    length_s = find_length_s(when)
    if length_s is None:
        return to_cron(when)
    minutes, hours = length_s // _MINUTE_S, length_s // _HOUR_S
    if minutes < 60 and 60 % minutes == 0:
        return f"*/{minutes} * * * *" if minutes > 1 else "* * * * *"
    if length_s % _HOUR_S == 0 and hours < 24 and 24 % hours == 0:
        return f"0 */{hours} * * *" if hours > 1 else "0 * * * *"
    return "0 0 * * *" if length_s == _DAY_S else dt.timedelta(seconds=length_s)


def _clean(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)
