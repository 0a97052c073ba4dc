"""What the systems say of a configuration. Everything is read, nothing is written."""

from __future__ import annotations

from collections.abc import Sequence

from services.utils import env, session, sources
from services.utils.checking.asking import Asker
from services.utils.checking.findings import ERROR, Report
from services.utils.checking.offline import list_systems
from services.utils.checking.origins import KnackOrigins, OdkOrigins, Origin
from services.utils.checking.stores import check_store
from services.utils.checking.targets import Targets
from services.utils.containers import Container
from services.utils.errors import ConfigError
from services.utils.store import Store

# A system that is down is to be told soon, however patient a run would be.
PATIENCE_S = 20.0


def check_online(chosen: Sequence[Container], report: Report) -> None:
    """Ask the systems about the chosen containers; those that the report has errors of are left out.

    Nothing is asked if they belong to several Knack apps, of which the environment names one.
    """
    apps = sorted({container.app for container in chosen if container.system == "knack"})
    if len(apps) > 1:
        report.add(
            ERROR,
            "environment, Knack",
            f"KNACK_APP_ID names one application, and {len(apps)} are to be asked for: {', '.join(apps)}. Check them "
            "one by one: --online -a APP, each with its own variables.",
        )
        return
    wrong = {finding.where for finding in report.findings if finding.level == ERROR}
    report.online = True
    if not env.get("RETRY_SECONDS"):
        session.limit_patience(PATIENCE_S)
    session.limit_waiting(PATIENCE_S)
    sound = [container for container in chosen if container.where not in wrong]
    usable = {system for system in list_systems(sound) if _is_set(system)}
    asker = Asker(report, usable)
    settings = env.load(usable)
    store = check_store(settings.store, asker) if "store" in usable else None
    targets = Targets(asker, store)
    origins: dict[str, KnackOrigins | OdkOrigins] = {}
    for container in sound:
        system = container.system
        if system in usable and system not in origins:
            origins[system] = (
                KnackOrigins(settings.knack, asker) if system == "knack" else OdkOrigins(settings.odk, asker)
            )
        origin = Origin(None, None)
        if system in origins:
            place = sources.find_place(container, settings)
            kept = Store(store, place.system, place.app_id, place.container_id) if store else None
            origin = origins[system].check(container, kept)
        if "records_to_socrata" in container.publishers and "socrata" in usable:
            targets.check_dataset(container, origin, settings.socrata)
        if "records_to_agol" in container.publishers and "agol" in usable:
            targets.check_layer(container, origin, settings.agol)
        if container.copies_media and not container.repeat and "s3" in usable:
            targets.check_bucket(container, settings.s3)


def _is_set(system: str) -> bool:
    """Whether a system's variables are there; if they are not, that was told."""
    try:
        env.load([system])
    except ConfigError:
        return False
    return True
