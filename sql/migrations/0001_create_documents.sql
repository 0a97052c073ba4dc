-- The store's heart: raw JSON documents, one table for each source, both of one shape.
-- Locks: nothing that exists (new objects only).

create schema if not exists api;
comment on schema api is 'Knack and ODK Central records as raw JSON documents, served by PostgREST.';

create schema if not exists bi;
comment on schema bi is 'Flat, typed views of the documents, for dashboards.';

-- Column texts are collated "C": key-set pages need one order for ever, and a system upgrade may change others.
create table api.knack (
    app_id text collate "C" not null,
    container_id text collate "C" not null,
    record_id text collate "C" not null,
    record json not null,
    updated_at timestamptz not null default clock_timestamp(),
    deleted_at timestamptz,
    constraint knack_pkey primary key (app_id, container_id, record_id)
);
create index knack_app_id_container_id_updated_at_record_id_idx
    on api.knack (app_id, container_id, updated_at, record_id);

comment on table api.knack is 'Records of Knack objects and views, one document each.';
comment on column api.knack.app_id is 'The Knack application''s id.';
comment on column api.knack.container_id is 'The Knack object or view the record was read from: object_1, view_1.';
comment on column api.knack.record_id is 'The record''s id in Knack: 24 hex digits.';
comment on column api.knack.record is 'The record as Knack sent it, byte for byte.';
comment on column api.knack.updated_at is
    'When the document last really changed, was deleted or came back; kept by a trigger.';
comment on column api.knack.deleted_at is 'When the record was found to have left Knack; null while it is there.';

create table api.odk (
    app_id text collate "C" not null,
    container_id text collate "C" not null,
    record_id text collate "C" not null,
    record json not null,
    updated_at timestamptz not null default clock_timestamp(),
    deleted_at timestamptz,
    constraint odk_pkey primary key (app_id, container_id, record_id)
);
create index odk_app_id_container_id_updated_at_record_id_idx
    on api.odk (app_id, container_id, updated_at, record_id);

comment on table api.odk is 'Submissions of ODK Central forms, one document each, repeats nested.';
comment on column api.odk.app_id is 'The server''s host and the project: host/project id.';
comment on column api.odk.container_id is 'The form''s id (xmlFormId).';
comment on column api.odk.record_id is 'The submission''s key.';
comment on column api.odk.record is 'The submission as ODK Central sent it, byte for byte.';
comment on column api.odk.updated_at is
    'When the document last really changed, was deleted or came back; kept by a trigger.';
comment on column api.odk.deleted_at is
    'When the submission was found to have left ODK Central; null while it is there.';

-- lz4 loads a quarter faster than pglz at about the same size; servers built without it keep pglz.
do $$
begin
    if exists (
        select
        from pg_settings
        where name = 'default_toast_compression' and 'lz4' = any (enumvals)
    ) then
        alter table api.knack alter column record set compression lz4;
        alter table api.odk alter column record set compression lz4;
    end if;
end;
$$;

create function api.keep_document()
returns trigger
language plpgsql
as $$
declare
    updates integer;
begin
    if tg_op = 'INSERT' then
        new.updated_at := clock_timestamp();
        return new;
    end if;
    -- A write that leaves deleted_at as it is writes a record that is at its source: it is alive again.
    if old.deleted_at is not null and new.deleted_at is not distinct from old.deleted_at then
        new.deleted_at := null;
    end if;
    if
        new.deleted_at is not distinct from old.deleted_at
        and new.record::text = old.record::text
        and (new.app_id, new.container_id, new.record_id) = (old.app_id, old.container_id, old.record_id)
    then
        return null;
    end if;
    -- It never stands still or goes back, whatever the clock does.
    new.updated_at := greatest(clock_timestamp(), old.updated_at + interval '1 microsecond');
    -- Tells the client how many of its rows were updates; PostgREST itself counts inserts and updates as one.
    updates := coalesce(nullif(current_setting('api.updates', true), ''), '0')::integer + 1;
    perform set_config('api.updates', updates::text, true);
    perform set_config('response.headers', format('[{"X-Documents-Updated": "%s"}]', updates), true);
    return new;
end;
$$;
comment on function api.keep_document() is
    'Drops a write that changes nothing; else moves updated_at, and brings a deleted record back to life.';

create trigger knack_keep_document
    before insert or update on api.knack
    for each row execute function api.keep_document();

create trigger odk_keep_document
    before insert or update on api.odk
    for each row execute function api.keep_document();
