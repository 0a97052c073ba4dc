"""One Airflow DAG for each configured container; docs/airflow.md tells how to set this up."""

import sys
from pathlib import Path

# The scripts' own code reads the configuration here too; it need not be installed beside Airflow.
HERE = Path(__file__).resolve().parent
sys.path += [path for path in (str(HERE), str(HERE.parent)) if path not in sys.path]

from record_services_dags.build import build_dags  # noqa: E402
from services.utils.errors import ConfigError  # noqa: E402

try:
    globals().update(build_dags())
except ConfigError as error:
    # Airflow shows the trace too: this line alone.
    raise ConfigError(str(error)) from None
