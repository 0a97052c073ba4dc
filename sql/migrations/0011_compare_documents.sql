-- A load of what is stored already need not send it: digests tell, of 64 letters each.
-- Locks: nothing that exists (new objects only).

create function api.same_documents(
    source text,
    app_id text,
    container_id text,
    record_ids text[],
    digests text[]
)
returns text[]
language plpgsql
stable
as $$
declare
    same text[];
begin
    execute format(
        $query$
        -- Materialized: no plan may work digests out for more documents than were named.
        with named as materialized (
            select d.record_id, d.record, given.digest
            from unnest($3, $4) as given (record_id, digest)
            join api.%I d
                on d.app_id = $1 and d.container_id = $2 and d.record_id = given.record_id
            where d.deleted_at is null
        )
        select coalesce(array_agg(n.record_id), '{}')
        from named n
        where encode(sha256(convert_to(n.record::text, 'UTF8')), 'hex') = n.digest
        $query$,
        source
    )
    into same
    using
        same_documents.app_id,
        same_documents.container_id,
        same_documents.record_ids,
        same_documents.digests;
    return same;
end;
$$;
comment on function api.same_documents(text, text, text, text[], text[]) is
    'Which of the named records are alive and stored with just these bytes; digests are SHA-256 of the bytes, as hex digits.';
