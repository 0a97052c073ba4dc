-- What an incremental load of an ODK form must know before it asks: which submission a document is of, which
-- wait for media, which were deleted, and what form version all documents were last read with.
-- Locks: api.odk against writing while its two indexes are built (about 40 s for a million documents).

create function api.odk_text(record json, path text[])
returns text
language plpgsql
immutable
-- So dear that the index over it is always taken: without statistics any other one looks as good.
cost 10000
as $$
begin
    return odk_text.record #>> odk_text.path;
exception
    -- An escape that json holds and text does not: \u0000, half of a pair.
    when data_exception then
        return null;
end;
$$;
comment on function api.odk_text(json, text[]) is
    'A value in a document as text; null where there is none or it cannot be shown as text.';

create function api.odk_media(record json)
returns text
language plpgsql
immutable
cost 10000
as $$
declare
    system json;
    expected text;
    present text;
begin
    -- Not where they are declared: what fails there is not caught.
    system := odk_media.record -> '__system';
    expected := system ->> 'attachmentsExpected';
    present := system ->> 'attachmentsPresent';
    if coalesce(expected, '0') = '0' then
        return null;
    end if;
    return case when present::bigint < expected::bigint then 'awaited' else 'there' end;
exception
    when data_exception then
        return null;
end;
$$;
comment on function api.odk_media(json) is
    'Whether a submission''s media are all there or still awaited, as its document says; null if it has none.';

-- The functions come first: an index that began with the container would be mistaken for the primary key where
-- there are no statistics yet, and every look-up by a key would read the whole container.
create index odk_instance_id_app_id_container_id_idx
    on api.odk (api.odk_text(record, '{__id}'), app_id, container_id);
create index odk_media_app_id_container_id_record_id_idx
    on api.odk (api.odk_media(record), app_id, container_id, record_id)
    where deleted_at is null and api.odk_media(record) is not null;

create table api.odk_loads (
    app_id text collate "C" not null,
    container_id text collate "C" not null,
    digest text not null,
    deleted json,
    looked_until timestamptz,
    checked text not null default '',
    updated_at timestamptz not null default clock_timestamp(),
    constraint odk_loads_pkey primary key (app_id, container_id)
);
comment on table api.odk_loads is 'What the last complete load of an ODK form found, for the next one to compare with.';
comment on column api.odk_loads.app_id is 'The server''s host and the project: host/project id.';
comment on column api.odk_loads.container_id is 'The form''s id (xmlFormId).';
comment on column api.odk_loads.digest is
    'The form''s published version and the choice of key; with another one every document is read again.';
comment on column api.odk_loads.deleted is
    'Submissions that were soft-deleted: [[instance id, submission date]]; null where this Central cannot say.';
comment on column api.odk_loads.looked_until is
    'What changed before was looked at: stored, or refused and then asked for again in every run.';
comment on column api.odk_loads.checked is
    'The last document whose complete media were checked for a file that was taken away; the next run goes on behind it.';
comment on column api.odk_loads.updated_at is 'When that load ended.';

create function api.odk_standing(
    app_id text,
    container_id text,
    destination text,
    awaited integer,
    media integer,
    refused integer
)
returns json
language sql
stable
as $$
    with l as (
        select *
        from api.odk_loads o
        where o.app_id = odk_standing.app_id and o.container_id = odk_standing.container_id
    ),
    waiting as (
        select d.record_id, api.odk_text(d.record, '{__system,submissionDate}') as submitted_at
        from api.odk d
        where d.app_id = odk_standing.app_id and d.container_id = odk_standing.container_id
            and d.deleted_at is null and api.odk_media(d.record) = 'awaited'
        order by submitted_at desc
        limit odk_standing.awaited
    ),
    complete as (
        select d.record_id, api.odk_text(d.record, '{__system,submissionDate}') as submitted_at
        from api.odk d
        where d.app_id = odk_standing.app_id and d.container_id = odk_standing.container_id
            and d.deleted_at is null and api.odk_media(d.record) = 'there'
            and d.record_id > coalesce((select l.checked from l), '')
        order by d.record_id
        limit odk_standing.media
    ),
    -- Became tombstones in a run that did not end well, and so are not in odk_loads.
    lately as (
        select
            api.odk_text(d.record, '{__id}') as instance_id,
            api.odk_text(d.record, '{__system,submissionDate}') as submitted_at
        from api.odk d
        where d.app_id = odk_standing.app_id and d.container_id = odk_standing.container_id
            and d.deleted_at is not null and d.updated_at >= (select l.updated_at from l)
    ),
    -- A refused document is kept as one text, which need not be JSON.
    open_rejects as (
        select
            j.record_id,
            substring(api.odk_text(j.content, '{}') from '"__system":\{"submissionDate":"([^"]+)"') as submitted_at
        from api.rejects j
        where j.destination = odk_standing.destination and j.closed_at is null
        order by j.record_id
        limit odk_standing.refused
    )
    select json_build_object(
        'empty', not exists (
            select
            from api.odk d
            where d.app_id = odk_standing.app_id and d.container_id = odk_standing.container_id
                and d.deleted_at is null
        ),
        'load', (select row_to_json(l) from l),
        'awaited', (select coalesce(json_agg(json_build_array(record_id, submitted_at)), '[]') from waiting),
        'media', (select coalesce(json_agg(json_build_array(record_id, submitted_at)), '[]') from complete),
        'lately', (select coalesce(json_agg(json_build_array(instance_id, submitted_at)), '[]') from lately),
        'refused', (select coalesce(json_agg(json_build_array(record_id, submitted_at)), '[]') from open_rejects)
    )
$$;
comment on function api.odk_standing(text, text, text, integer, integer, integer) is
    'What a load of an ODK form must know before it asks: whether there are documents, the last load, and up to so many submissions that wait for media, whose media are to be checked, that became tombstones since, and that are refused.';

create function api.find_submissions(app_id text, container_id text, record_ids text[], instance_ids text[])
-- One value, not rows: PostgREST may be set to give fewer rows than there are.
returns json
language sql
stable
as $$
    -- One by one, each by its index: without statistics one condition for all is planned as a loop in a loop.
    with found as (
        select k.record_id, d.record
        from unnest(find_submissions.record_ids) as k (record_id)
        cross join lateral (
            select o.record
            from api.odk o
            where o.app_id = find_submissions.app_id and o.container_id = find_submissions.container_id
                and o.record_id = k.record_id collate "C" and o.deleted_at is null
            offset 0
        ) d
        where cardinality(find_submissions.record_ids) <= 300
        union all
        -- Many keys in one pass: two indexes begin with the container, and each key might read all of one.
        select o.record_id, o.record
        from api.odk o
        where cardinality(find_submissions.record_ids) > 300
            and o.app_id = find_submissions.app_id and o.container_id = find_submissions.container_id
            and o.deleted_at is null
            -- "is true" keeps it a filter with a hash, whatever the planner believes of the tables' sizes.
            and (o.record_id in (select unnest(find_submissions.record_ids))) is true
        union all
        select d.record_id, d.record
        from unnest(find_submissions.instance_ids) as i (instance_id)
        cross join lateral (
            select o.record_id, o.record
            from api.odk o
            where o.app_id = find_submissions.app_id and o.container_id = find_submissions.container_id
                and api.odk_text(o.record, '{__id}') = i.instance_id and o.deleted_at is null
            offset 0
        ) d
    )
    select coalesce(
        json_agg(
            json_build_array(
                f.record_id,
                api.odk_text(f.record, '{__id}'),
                api.odk_text(f.record, '{__system,submissionDate}')
            )
        ),
        '[]'
    )
    from found f
$$;
comment on function api.find_submissions(text, text, text[], text[]) is
    'Live documents that have one of these keys, or are of one of these submissions: [[key, instance id, submission date]].';

create function api.keep_odk_load(
    run_id uuid,
    app_id text,
    container_id text,
    digest text,
    deleted json,
    looked_until timestamptz,
    checked text
)
returns void
language plpgsql
as $$
begin
    -- A run that was taken for dead knows less than the one that took its place.
    perform from api.runs r where r.run_id = keep_odk_load.run_id and r.status = 'running' for update;
    if not found then
        raise exception 'run % is not running any more', keep_odk_load.run_id using errcode = 'PT409';
    end if;
    insert into api.odk_loads as l (app_id, container_id, digest, deleted, looked_until, checked)
    values (
        keep_odk_load.app_id,
        keep_odk_load.container_id,
        keep_odk_load.digest,
        keep_odk_load.deleted,
        keep_odk_load.looked_until,
        keep_odk_load.checked
    )
    on conflict on constraint odk_loads_pkey do update
    set digest = excluded.digest,
        deleted = excluded.deleted,
        looked_until = excluded.looked_until,
        checked = excluded.checked,
        updated_at = clock_timestamp();
end;
$$;
comment on function api.keep_odk_load(uuid, text, text, text, json, timestamptz, text) is
    'Keeps what a complete load of an ODK form found, for a run that is still running.';
