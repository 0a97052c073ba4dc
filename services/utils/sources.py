"""Joins configuration to a source, so that scripts need not know which one it is."""

from __future__ import annotations

from dataclasses import dataclass

from services.utils.containers import Container
from services.utils.env import OdkSettings
from services.utils.errors import ConfigError


@dataclass(frozen=True)
class FormPlace:
    """Where a form is, at Central and in the store (`app_id`, and `form_id` as the container)."""

    app_id: str
    project_id: str
    form_id: str


def find_form(container: Container, settings: OdkSettings) -> FormPlace:
    """The form that a container of an ODK app stands for.

    Raises: ConfigError if neither configuration nor environment names the project.
    """
    project_id = container.project_id or settings.project_id
    if not (project_id.isascii() and project_id.isdecimal()):
        said = f"project_id is {project_id!r}, expected a whole number" if project_id else "has no project_id"
        raise ConfigError(
            f"{container.where} {said}. Nothing was sent. Set it in config/odk.py, or ODK_PROJECT_ID."
        )
    project_id = str(int(project_id))
    form_id = container.form_id or settings.form_id or container.id
    return FormPlace(f"{settings.host}/{project_id}", project_id, form_id)
