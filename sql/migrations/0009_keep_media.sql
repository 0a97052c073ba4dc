-- What copying media must know of a file: which submission it is of at Central, by what digests it is known there,
-- when it was last compared, why it could not be had, and its thumbnail.
-- Locks: api.odk_attachments, while its two indexes are built; nothing is rewritten.

alter table api.odk_attachments
    add column instance_id text collate "C",
    add column sha1 text,
    add column thumbnail_key text,
    add column thumbnail_px integer,
    add column reason text,
    add column stored_at timestamptz,
    add column checked_at timestamptz;

comment on table api.odk_attachments is
    'Media of ODK submissions, one row for each file: where it is kept, or that it is awaited.';
comment on column api.odk_attachments.instance_id is
    'The submission''s id at Central (__id), which edits do not change.';
comment on column api.odk_attachments.field_path is
    'The field that names the file, with groups, repeats and the row in them: person[2]/photo. Empty where none does.';
comment on column api.odk_attachments.digest is 'MD5 of the file, as hex digits: Central''s own ETag.';
comment on column api.odk_attachments.sha1 is
    'SHA-1 of the file, as hex digits: a Central that keeps media in S3 names them by it.';
comment on column api.odk_attachments.state is
    'stored; missing (Central expects the file and does not have it, so it is awaited); failed (it could not be had, the reason says why); deleted (the submission does not have the file any more; the object is kept).';
comment on column api.odk_attachments.thumbnail_key is
    'The key of the small picture in the bucket; null where there is none.';
comment on column api.odk_attachments.thumbnail_px is
    'The longest side that was asked for when a small picture was made, or could not be made.';
comment on column api.odk_attachments.reason is 'Why the file could not be had, where state is failed.';
comment on column api.odk_attachments.stored_at is 'When the object in the bucket last got these bytes.';
comment on column api.odk_attachments.checked_at is 'When the file was last compared with Central.';
comment on column api.odk_attachments.updated_at is
    'When the row last really changed (checked_at aside); kept by a trigger.';

create index odk_attachments_app_id_container_id_checked_at_idx
    on api.odk_attachments (app_id, container_id, checked_at);
create index odk_attachments_app_id_container_id_record_id_idx
    on api.odk_attachments (app_id, container_id, record_id)
    where state in ('missing', 'failed');

create function api.keep_attachment()
returns trigger
language plpgsql
as $$
begin
    new.checked_at := clock_timestamp();
    new.updated_at := new.checked_at;
    new.stored_at := case when new.state = 'stored' then new.checked_at end;
    if tg_op = 'UPDATE' then
        if (new.digest, new.key) is not distinct from (old.digest, old.key) or new.state <> 'stored' then
            new.stored_at := old.stored_at;
        end if;
        if
            to_jsonb(new) - '{checked_at,updated_at}'::text[]
            = to_jsonb(old) - '{checked_at,updated_at}'::text[]
        then
            new.updated_at := old.updated_at;
        end if;
    end if;
    return new;
end;
$$;
comment on function api.keep_attachment() is
    'Notes when a file was compared, when its row really changed and when it was stored.';

create trigger odk_attachments_keep_attachment
    before insert or update on api.odk_attachments
    for each row execute function api.keep_attachment();

create function api.media_to_check(app_id text, container_id text, again integer)
returns text[]
language sql
stable
as $$
    select coalesce(array_agg(w.record_id order by w.record_id), '{}')
    from (
        select a.record_id
        from api.odk_attachments a
        where a.app_id = media_to_check.app_id and a.container_id = media_to_check.container_id
            and a.state in ('missing', 'failed')
        union
        -- Nothing at Central tells of a file that was replaced: some of the others are asked for in turn.
        (
            select a.record_id
            from api.odk_attachments a
            where a.app_id = media_to_check.app_id and a.container_id = media_to_check.container_id
                and a.state = 'stored'
            order by a.checked_at nulls first
            limit media_to_check.again
        )
    ) w
$$;
comment on function api.media_to_check(text, text, integer) is
    'Documents whose media are to be looked at again: those that wait for a file or failed to get one, and those of so many stored files that were compared longest ago.';

create function api.count_media(app_id text, container_id text)
returns json
language sql
stable
as $$
    select coalesce(json_object_agg(s.state, s.files), '{}')
    from (
        select a.state, count(*) as files
        from api.odk_attachments a
        where a.app_id = count_media.app_id and a.container_id = count_media.container_id
        group by a.state
    ) s
$$;
comment on function api.count_media(text, text) is 'How many files of a form are in each state: {"stored": 12, "missing": 1}.';
