"""What can be known of a configuration without asking anybody."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from services.utils import env
from services.utils.checking.asking import NAMES
from services.utils.checking.findings import ERROR, NOTE, WARNING, Report
from services.utils.containers import DESTINATION_KEYS, SYSTEMS, Container, build_container, find_app
from services.utils.errors import ConfigError
from services.utils.fieldmaps import read_field_maps

Config = Mapping[str, Mapping[str, Mapping[str, Any]]]
Target = tuple[str, ...]

_ITEM_ID = re.compile(r"[0-9a-fA-F]{32}")
_KNACK_ID = re.compile(r"(object|view)_[0-9]+")
# Settings that mean nothing for a system.
_FOREIGN = {
    "knack": ("project_id", "form_id", "record_key", "repeat", "attachments"),
    "odk": ("scene_id", "object", "modified_date_field_id", "dest_apps"),
}


def choose_containers(
    config: Config, app: str, container_id: str, environment: str, report: Report
) -> list[Container]:
    """The containers that the flags name ("" is any), as far as their settings are right.

    The report gets what is wrong with these. If it has findings already, of files that cannot be read, none need be
    found.
    Raises: ConfigError if there is none, with the nearest names.
    """
    if app and report.findings and not any(app in config[system] for system in SYSTEMS):
        return []
    if app:
        find_app(config, app, container_id, SYSTEMS)
    chosen = _build_containers(config, environment, report, app, container_id)
    if container_id and not chosen and not report.findings:
        raise ConfigError(
            f"No app has a container {container_id!r}. Nothing was checked. Name its app with -a."
        )
    return chosen


def _build_containers(
    config: Config, environment: str, report: Report, app: str = "", container_id: str = ""
) -> list[Container]:
    built = []
    for system in SYSTEMS:
        for name, containers in config.get(system, {}).items():
            for one in containers:
                if app in ("", name) and container_id in ("", one):
                    complain = partial(report.add_error, f"{name}/{one}")
                    built.append(build_container(config, system, name, one, environment, complain))
    return built


def check_offline(
    config: Config, chosen: Sequence[Container], report: Report, folder: Path | None = None
) -> None:
    """Check the chosen containers, beside all others that are configured, and the environment that they need.

    folder: where the configuration's files are, for field maps; None for services/config.
    """
    everyone = {name: _build_containers(config, name, Report()) for name in ("prod", "dev")}
    for container in chosen:
        _check_kind(config, container, report)
        _check_fields(container, report)
        _check_layer(config, container, report)
        _check_dev(config, container, everyone, report)
        _check_sharing(container, everyone[container.env], report)
        _check_field_maps(container, folder, report)
    _check_environment(chosen, report)


def _check_field_maps(container: Container, folder: Path | None, report: Report) -> None:
    for app in container.copies_to:
        try:
            read_field_maps(folder, container, app)
        except ConfigError as error:
            report.add_error(container.where, error)


def list_systems(containers: Iterable[Container]) -> list[str]:
    """The systems whose variables the scripts of these containers need, as `env.load` knows them."""
    needed: dict[str, None] = {}
    for container in containers:
        needed |= dict.fromkeys((container.system, "store"))
        scripts = {"records_to_socrata": "socrata", "records_to_agol": "agol"}
        needed |= dict.fromkeys(scripts[script] for script in container.publishers)
        if container.publishers:
            needed |= dict.fromkeys(container.secrets)
        if container.copies_media:
            needed["s3"] = None
    return list(needed)


def _check_kind(config: Config, container: Container, report: Report) -> None:
    """What holds for containers of one source alone."""
    where, file = container.where, f"config/{container.system}.py"
    given = config[container.system][container.app][container.id]
    for key in _FOREIGN[container.system]:
        if given.get(key) not in (None, ""):
            report.add(
                WARNING, where, f"{key} means nothing for {NAMES[container.system]}. Take it out of {file}."
            )
    if container.system == "knack":
        if not _KNACK_ID.fullmatch(container.id):
            report.add(
                ERROR,
                where,
                f"{container.id!r} is the key of no object and no view (object_12, view_34). Correct it in {file}.",
            )
        if not container.modified_date_field_id:
            report.add(
                WARNING,
                where,
                "it has no modified_date_field_id, so every load reads everything. Name the date field that says "
                f"when a record changed, in {file}.",
            )
        return
    # With all of the sources behind it: not for `--help`.
    from services.utils import sources

    with report.guarding(where):
        known = env.OdkSettings("", "", "", env.get("ODK_PROJECT_ID"), env.get("ODK_FORM_ID"))
        sources.find_form(container, known)
    if container.repeat:
        if container.upsert_matching_field != "id":
            report.add(
                ERROR,
                where,
                f"the rows of the repeat {container.repeat!r} are matched by id, not by "
                f"{container.upsert_matching_field!r}. Take upsert_matching_field out of {file}.",
            )
        form_id = container.form_id or container.id
        others = config["odk"][container.app].items()
        if not any(
            not settings.get("repeat") and (settings.get("form_id") or name) == form_id
            for name, settings in others
        ):
            report.add(
                ERROR,
                where,
                f"it publishes a repeat of the form {form_id!r}, which no container of the app loads. Add one "
                f"without `repeat`, or correct form_id, in {file}.",
            )


def _check_fields(container: Container, report: Report) -> None:
    where, file = container.where, f"config/{container.system}.py"
    both = [name for name in container.fields or () if name in container.exclude_fields]
    if both:
        report.add(
            WARNING,
            where,
            f"{', '.join(both)} stand in fields and in exclude_fields, and are not published. Take them out of one, "
            f"in {file}.",
        )
    for name in container.location_fields:
        if name in container.exclude_fields:
            report.add(
                ERROR,
                where,
                f"{name} stands in location_fields and in exclude_fields. Take it out of one, in {file}.",
            )
    for key in ("fields", "exclude_fields", "location_fields"):
        names = getattr(container, key) or ()
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            report.add(WARNING, where, f"{', '.join(twice)} stand twice in {key}. Once is enough, in {file}.")
    if "id" in container.exclude_fields:
        report.add(
            ERROR,
            where,
            f"exclude_fields names id, by which rows are told apart. Take it out, in {file}.",
        )


def _check_layer(config: Config, container: Container, report: Report) -> None:
    where, file = container.where, f"config/{container.system}.py"
    given = config[container.system][container.app][container.id]
    # One that is not right was told of already.
    if container.service_id and given.get("layer_id") is None and container.layer_id is None:
        report.add(
            ERROR,
            where,
            "it has a service_id and no layer_id, so nothing is published to ArcGIS Online. Add the layer's id in "
            f"the service, in {file}.",
        )
    if container.layer_id is not None and not container.service_id:
        report.add(
            WARNING, where, f"it has a layer_id and no service_id, which it belongs to. Add it in {file}."
        )
    if container.service_id and not _ITEM_ID.fullmatch(container.service_id):
        report.add(
            ERROR,
            where,
            f"service_id is {container.service_id!r}, expected an item's id of 32 hex digits (it stands in the "
            f"address of the item's page). Correct it in {file}.",
        )


def _check_dev(
    config: Config, container: Container, everyone: Mapping[str, list[Container]], report: Report
) -> None:
    """With -e dev nothing that prod publishes may be written."""
    where, file = container.where, f"config/{container.system}.py"
    ours = build_container(config, container.system, container.app, container.id, "dev", lambda error: None)
    # Its own come last, and so are the ones that are named.
    others = sorted(everyone["prod"], key=lambda one: one.where == where)
    published = {target: one.where for one in others for target in _list_targets(one)}
    for target in _list_targets(ours):
        if target in published:
            whose = "its own" if published[target] == where else f"{published[target]}'s"
            report.add(
                ERROR,
                where,
                f"with -e dev it would write over {whose} {_name_target(target)} of prod. Give dev one of its own, "
                f'in "dev" in {file}.',
            )
    if container.env == "dev":
        for key in DESTINATION_KEYS:
            if key in container.dev_blocked and getattr(container, key) not in ("", None):
                report.add(
                    NOTE,
                    where,
                    f'it has no {key} of its own for dev, so -e dev does not write there. Add "dev": {{"{key}": ...}} '
                    f"in {file} if it should.",
                )


def _check_sharing(container: Container, everyone: list[Container], report: Report) -> None:
    """Several containers that write to one place."""
    where, file = container.where, f"config/{container.system}.py"
    for target in _list_targets(container):
        others = [one.where for one in everyone if one.where != where and target in _list_targets(one)]
        if not others:
            continue
        if target[0] == "dataset":
            if not container.no_replace_socrata:
                report.add(
                    WARNING,
                    where,
                    f"{_name_target(target)} is fed by {' and '.join(others)} too, so a full publish is taken to "
                    f'remove tombstones only. Write "no_replace_socrata": True in {file}.',
                )
        elif target[0] == "layer":
            report.add(
                ERROR,
                where,
                f"{_name_target(target)} is written by {' and '.join(others)} too, and each full publish would "
                f"remove what the other one published. Give each a layer of its own, in {file}.",
            )
        else:
            report.add(
                WARNING,
                where,
                f"{_name_target(target)} holds the media of {' and '.join(others)} too. Give each a prefix of its "
                f"own, in {file}.",
            )


def _list_targets(container: Container) -> list[Target]:
    """The places that a container's scripts write in its env."""
    targets: list[Target] = []
    for script in container.publishers:
        if script == "records_to_socrata":
            targets.append(("dataset", container.socrata_resource_id))
        elif container.layer_id is not None:
            targets.append(("layer", container.service_id, container.item_type, str(container.layer_id)))
    if container.copies_media and not container.repeat:
        prefix = str((container.attachments or {}).get("prefix") or container.app)
        targets.append(("media", prefix, container.form_id or container.id))
    return targets


def _name_target(target: Target) -> str:
    if target[0] == "dataset":
        return f"dataset {target[1]}"
    if target[0] == "layer":
        return f"{target[2]} {target[3]} of item {target[1]}"
    return f"prefix {target[1]}/{target[2]}"


def _check_environment(chosen: Sequence[Container], report: Report) -> None:
    for system in list_systems(chosen):
        try:
            env.load([system])
        except ConfigError as error:
            said = str(error).removeprefix("Environment variables are not right: ")
            report.add_error(f"environment, {NAMES[system]}", ConfigError(said))
