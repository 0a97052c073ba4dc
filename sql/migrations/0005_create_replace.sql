-- A full load: which records one pass over the source has seen, and the removal of those it has not.
-- Locks: nothing that exists (new objects only).

create table api.load_pages (
    run_id uuid not null,
    page bigint not null,
    record_ids text[] not null,
    constraint load_pages_pkey primary key (run_id, page),
    constraint load_pages_run_id_fkey foreign key (run_id) references api.runs (run_id) on delete cascade
);
comment on table api.load_pages is
    'Ids of the records that a full load under way has read and stored, a page a row; forgotten when its run has ended.';
comment on column api.load_pages.run_id is 'The run.';
comment on column api.load_pages.page is 'A number that the run gives its pages.';
comment on column api.load_pages.record_ids is 'The records of that page.';

create function api.clear_load_pages()
returns void
language sql
as $$
    delete from api.load_pages p
    using api.runs r
    where r.run_id = p.run_id and r.status <> 'running'
$$;
comment on function api.clear_load_pages() is 'Forgets what runs that have ended had seen.';

create function api.missing_records(run_id uuid, source text, app_id text, container_id text)
returns table (stored bigint, seen bigint, record_ids text[])
language plpgsql
stable
as $$
begin
    return query execute format(
        $query$
        with seen as (
            select distinct unnest(p.record_ids) collate "C" as record_id
            from api.load_pages p
            where p.run_id = $1
        ),
        stored as (
            select d.record_id, d.updated_at
            from api.%I d
            where d.app_id = $2 and d.container_id = $3 and d.deleted_at is null
        )
        select
            (select count(*) from stored),
            (select count(*) from seen),
            coalesce(
                (
                    select array_agg(gone.record_id order by gone.record_id)
                    from (
                        select s.record_id
                        from stored s
                        -- A document that another run wrote since this one began is no left-over.
                        where s.updated_at < (select r.started_at from api.runs r where r.run_id = $1)
                        -- Not "not exists": without statistics that is planned as a loop in a loop.
                        except
                        select seen.record_id
                        from seen
                    ) gone
                ),
                '{}'
            )
        $query$,
        source
    )
    using missing_records.run_id, missing_records.app_id, missing_records.container_id;
end;
$$;
comment on function api.missing_records(uuid, text, text, text) is
    'Compares a full load with the store: live documents stored, ids seen, and the ids stored but not seen.';

create function api.remove_documents(
    run_id uuid,
    source text,
    app_id text,
    container_id text,
    record_ids text[]
)
returns integer
language plpgsql
as $$
declare
    removed integer;
begin
    -- A run that was taken for dead must not remove anything; the row lock keeps it from being taken meanwhile.
    perform from api.runs r where r.run_id = remove_documents.run_id and r.status = 'running' for update;
    if not found then
        raise exception 'run % is not running any more', remove_documents.run_id using errcode = 'PT409';
    end if;
    execute format(
        $query$
        update api.%I d
        set deleted_at = clock_timestamp()
        where d.app_id = $1 and d.container_id = $2 and d.record_id = any ($3) and d.deleted_at is null
            and d.updated_at < (select r.started_at from api.runs r where r.run_id = $4)
        $query$,
        source
    )
    using
        remove_documents.app_id,
        remove_documents.container_id,
        remove_documents.record_ids,
        remove_documents.run_id;
    -- Counted, not taken from the update: the call may be repeated because its answer was lost.
    execute format(
        $query$
        select count(*)
        from api.%I d
        where d.app_id = $1 and d.container_id = $2 and d.record_id = any ($3)
            and d.deleted_at >= (select r.started_at from api.runs r where r.run_id = $4)
        $query$,
        source
    )
    into removed
    using
        remove_documents.app_id,
        remove_documents.container_id,
        remove_documents.record_ids,
        remove_documents.run_id;
    return removed;
end;
$$;
comment on function api.remove_documents(uuid, text, text, text, text[]) is
    'Makes tombstones of the named documents, all in one transaction, for a run that is still running.';

create function api.put_document(source text, app_id text, container_id text, record_id text, record text)
returns text
language plpgsql
as $$
declare
    old_updated_at timestamptz;
    new_updated_at timestamptz;
begin
    execute format(
        'select d.updated_at from api.%I d where d.app_id = $1 and d.container_id = $2 and d.record_id = $3',
        source
    )
    into old_updated_at
    using put_document.app_id, put_document.container_id, put_document.record_id;
    -- A cast from text takes what the way through json_to_recordset refuses: \u0000, lone surrogates.
    execute format(
        $query$
        insert into api.%I (app_id, container_id, record_id, record)
        values ($1, $2, $3, $4::json)
        on conflict (app_id, container_id, record_id) do update set record = excluded.record
        returning updated_at
        $query$,
        source
    )
    into new_updated_at
    using put_document.app_id, put_document.container_id, put_document.record_id, put_document.record;
    return case
        when old_updated_at is null then 'inserted'
        when new_updated_at is null then 'unchanged'
        else 'updated'
    end;
end;
$$;
comment on function api.put_document(text, text, text, text, text) is
    'Upserts one document given as text, for the few that PostgREST''s own upsert refuses; says inserted, updated or unchanged.';
