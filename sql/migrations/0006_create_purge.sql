-- Old tombstones that every destination has taken may go; nothing else may be deleted, so nobody gets DELETE.
-- Locks: nothing that exists (new objects only).

create function api.purge_tombstones(source text, app_id text, container_id text, before timestamptz)
returns integer
language plpgsql
-- With the owner's rights: this is the only way by which a document can be deleted through PostgREST.
security definer
set search_path = ''
as $$
declare
    purged integer;
begin
    if purge_tombstones.source not in ('knack', 'odk') then
        raise exception 'no such source: %', purge_tombstones.source using errcode = 'PT400';
    end if;
    execute pg_catalog.format(
        $query$
        delete from api.%I d
        where d.app_id = $1 and d.container_id = $2 and d.deleted_at is not null
            and d.deleted_at < $3 and d.updated_at < $3
        $query$,
        purge_tombstones.source
    )
    using purge_tombstones.app_id, purge_tombstones.container_id, purge_tombstones.before;
    get diagnostics purged = row_count;
    return purged;
end;
$$;
comment on function api.purge_tombstones(text, text, text, timestamptz) is
    'Deletes tombstones of a container from before a time; documents that are alive stay whatever is asked.';
