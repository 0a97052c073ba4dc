-- Documents of a load come as they are, one after the other: PostgREST's own upsert reads them as JSON three times,
-- once for the body, once for each row, once for each document, and takes twice the server's time.
-- Locks: nothing that exists (new objects only).

-- PostgREST hands a body of text/plain to a function whose only argument has no name.
create function api.load_documents(text)
returns json
language plpgsql
as $$
declare
    -- What stands behind each part stands in none: JSON has no bare control characters. The last one shows that
    -- the body is whole: it would end unseen at a zero byte.
    parts text[] := string_to_array($1, E'\x1e');
    head json := parts[1];
    documents integer := json_array_length(head -> 'record_ids');
    changed integer;
begin
    if cardinality(parts) is distinct from documents + 2 or parts[documents + 2] is distinct from '' then
        raise exception 'the body does not hold one document for each id' using errcode = '22023';
    end if;
    execute format(
        $query$
        insert into api.%I (app_id, container_id, record_id, record)
        select $1, $2, d.record_id, d.record::json
        from rows from (json_array_elements_text($3), unnest($4)) as d (record_id, record)
        on conflict (app_id, container_id, record_id) do update set record = excluded.record
        $query$,
        head ->> 'source'
    )
    using head ->> 'app_id', head ->> 'container_id', head -> 'record_ids', parts[2:documents + 1];
    get diagnostics changed = row_count;
    return json_build_object(
        'changed', changed,
        'updated', coalesce(nullif(current_setting('api.updates', true), ''), '0')::integer
    );
end;
$$;
comment on function api.load_documents(text) is
    'Upserts the documents of one container: {"source", "app_id", "container_id", "record_ids"}, and for each id its document, the character U+001E behind each of these parts. Says how many rows changed, and how many of those were there before.';
