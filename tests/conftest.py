"""Fixtures that many tests share. Those that start servers do so only where a test asks for them.

stack        (whole session) PostgreSQL and PostgREST with the schema applied: `stack.url`, `stack.token(role)`,
             `stack.execute(sql)`, `stack.stop_database()` ...; a test that stops a part starts it again
clean_store  the same stack with every table of schema api empty
store_env    variables for a child process that works on the stack, and none of the developer's own
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from dev import stack as stacks

# A busy machine is slow; that is no failure of what is tested.
hypothesis_settings.register_profile("house", deadline=None, suppress_health_check=[HealthCheck.too_slow])
hypothesis_settings.load_profile("house")


@pytest.fixture(scope="session")
def stack() -> Iterator[stacks.Stack]:
    """A store for all tests of the session."""
    with stacks.run() as running:
        yield running


def empty_tables(stack: stacks.Stack) -> None:
    """Empty every table of schema api; waits up to 10 s for a session that still holds one."""
    stack.execute("""
        do $$
        declare
          tables text;
        begin
          set local lock_timeout = '10s';
          select string_agg(format('%I.%I', schemaname, tablename), ', ') into tables
            from pg_tables where schemaname = 'api' and tablename not like '%migration%';
          if tables is not null then
            execute 'truncate ' || tables || ' restart identity cascade';
          end if;
        end $$
    """)


@pytest.fixture
def clean_store(stack: stacks.Stack) -> stacks.Stack:
    """The store without a row. It is emptied before the test: what a failed test left can be looked at."""
    stack.start_database()
    stack.start_postgrest()
    empty_tables(stack)
    return stack


@pytest.fixture(scope="session")
def store_env(stack: stacks.Stack, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What a script needs to find the store, as a scheduler would set it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    # A temp folder of their own: scripts of one machine keep to Knack's limit together.
    return {**kept, "TMPDIR": str(tmp_path_factory.mktemp("tmp")), **stack.env()}
