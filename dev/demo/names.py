"""What the demo's configuration calls things."""

from pathlib import Path

from dev.simulators.survey import FORM_ID
from services.utils import containers

CONFIG_FOLDER = Path(__file__).parent / "config"
KNACK_APP, ODK_APP = "traffic-operations", "green-town"
CONTAINERS = ("view_200", "object_31")
FORM, TREES = FORM_ID, "trees"


def find_container(app: str, container_id: str) -> containers.Container:
    """One of the demo's containers."""
    config = containers.read_config(CONFIG_FOLDER)
    return containers.find_container(config, app, container_id, "prod", containers.SYSTEMS)
