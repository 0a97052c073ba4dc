-- What the fields of a record mean, as the sources themselves say it.
-- Locks: nothing that exists (new objects only).

create table api.knack_metadata (
    app_id text collate "C" not null,
    metadata json not null,
    updated_at timestamptz not null default clock_timestamp(),
    constraint knack_metadata_pkey primary key (app_id)
);
comment on table api.knack_metadata is 'Knack applications: their objects, fields, views and settings.';
comment on column api.knack_metadata.app_id is 'The Knack application''s id.';
comment on column api.knack_metadata.metadata is
    'The whole document as Knack sent it, with its "application" key.';
comment on column api.knack_metadata.updated_at is 'When the metadata last really changed; kept by a trigger.';

create table api.odk_metadata (
    app_id text collate "C" not null,
    container_id text collate "C" not null,
    metadata json not null,
    updated_at timestamptz not null default clock_timestamp(),
    constraint odk_metadata_pkey primary key (app_id, container_id)
);
comment on table api.odk_metadata is 'ODK Central forms: their fields and versions.';
comment on column api.odk_metadata.app_id is 'The server''s host and the project: host/project id.';
comment on column api.odk_metadata.container_id is 'The form''s id (xmlFormId).';
comment on column api.odk_metadata.metadata is 'Fields and versions as ODK Central sent them.';
comment on column api.odk_metadata.updated_at is 'When the metadata last really changed; kept by a trigger.';

create table api.odk_attachments (
    app_id text collate "C" not null,
    container_id text collate "C" not null,
    record_id text collate "C" not null,
    field_path text collate "C" not null default '',
    name text collate "C" not null,
    key text,
    size_bytes bigint,
    digest text,
    content_type text,
    state text not null default 'missing',
    updated_at timestamptz not null default clock_timestamp(),
    constraint odk_attachments_pkey primary key (app_id, container_id, record_id, name),
    constraint odk_attachments_state_check check (state in ('missing', 'stored', 'failed', 'deleted'))
);
comment on table api.odk_attachments is 'Media of ODK submissions and where each file is kept.';
comment on column api.odk_attachments.app_id is 'The server''s host and the project: host/project id.';
comment on column api.odk_attachments.container_id is 'The form''s id (xmlFormId).';
comment on column api.odk_attachments.record_id is 'The submission''s key.';
comment on column api.odk_attachments.field_path is 'The field that names the file, groups and repeats included.';
comment on column api.odk_attachments.name is 'The file''s name in the submission.';
comment on column api.odk_attachments.key is 'The object''s key in the bucket; never a signed link.';
comment on column api.odk_attachments.size_bytes is 'The file''s size.';
comment on column api.odk_attachments.digest is 'MD5 of the file, as hex digits.';
comment on column api.odk_attachments.content_type is 'What the file truly is.';
comment on column api.odk_attachments.state is 'missing (not uploaded yet), stored, failed or deleted.';
comment on column api.odk_attachments.updated_at is 'When this row last changed.';

create function api.keep_metadata()
returns trigger
language plpgsql
as $$
begin
    if tg_op = 'UPDATE' and new.metadata::text = old.metadata::text then
        return null;
    end if;
    new.updated_at := clock_timestamp();
    return new;
end;
$$;
comment on function api.keep_metadata() is 'Drops a write that changes nothing; else moves updated_at.';

create trigger knack_metadata_keep_metadata
    before insert or update on api.knack_metadata
    for each row execute function api.keep_metadata();

create trigger odk_metadata_keep_metadata
    before insert or update on api.odk_metadata
    for each row execute function api.keep_metadata();
