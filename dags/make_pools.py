"""Print the pools that the DAGs need, as `airflow pools import` takes them.

python dags/make_pools.py > pools.json && airflow pools import pools.json
"""

import json
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))

from record_services_dags import plan, settings  # noqa: E402
from services.utils.containers import read_config  # noqa: E402
from services.utils.errors import ConfigError  # noqa: E402


def main() -> int:
    """0, or 2 with one line where the configuration is wrong."""
    try:
        found = settings.read_settings()
        pools = plan.plan_pools(plan.list_containers(read_config(found.config), found.env))
    except ConfigError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    named = {pool.name: {"slots": pool.slots, "description": pool.description} for pool in pools}
    sys.stdout.write(json.dumps(named, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
