"""Bring a database up to date with sql/: tables, functions, roles and grants.

python services/migrate.py

DATABASE_URL names the database, as postgresql://postgres:...@localhost/records does. It may be run any number of
times. Passwords of roles are left to the operator.
"""
# PYTHON_ARGCOMPLETE_OK

from services.utils import cli, env, migrations
from services.utils.records import Counts


def main(args: cli.Args) -> cli.Summary:
    """Apply what is new; the summary counts migrations."""
    settings = env.load(["database"])
    everything = migrations.list_migrations()
    applied = migrations.apply_migrations(settings.database_url)
    return cli.Summary(
        counts=Counts(read=len(everything), inserted=len(applied), unchanged=len(everything) - len(applied))
    )


if __name__ == "__main__":
    cli.run_script("migrate", cli.make_parser("migrate", __doc__, container="none"), main)
