-- Which migrations this database has, for those who may not look into its own schema.
-- Locks: nothing that exists (new objects only).

create function api.migrations()
returns table (
    name text,
    digest text,
    applied_at timestamptz
)
language sql
stable
security definer
set search_path = pg_catalog
as $$
    select m.name, m.digest, m.applied_at
    from store.migrations m
    order by m.name
$$;
comment on function api.migrations() is
    'The migrations that were applied: the file, the SHA-256 of it, and when.';
