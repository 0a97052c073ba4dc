-- Who may do what. Applied after the migrations, on every run of migrate.py; passwords are the operator's.
--   authenticator   PostgREST logs in as it and becomes one of the others
--   api_user        loads: writes documents and metadata, never deletes them
--   api_publisher   reads documents; writes runs, rejects, counts and what fills columns only
--   api_monitor     reads the ledger and documents for status.py; writes nothing
--   api_reader      reads the views in bi, nothing else
--   anon            a request without a token: nothing at all

do $$
declare
    missing text;
begin
    foreach missing in array array['api_user', 'api_publisher', 'api_monitor', 'api_reader', 'anon'] loop
        if not exists (select from pg_roles where rolname = missing) then
            execute format('create role %I nologin', missing);
        end if;
    end loop;
    if not exists (select from pg_roles where rolname = 'authenticator') then
        create role authenticator login noinherit;
    elsif (select rolinherit from pg_roles where rolname = 'authenticator') then
        -- Made by hand, perhaps: it would have the rights of all the others at once.
        alter role authenticator noinherit;
    end if;
end;
$$;
grant api_user, api_publisher, api_monitor, api_reader, anon to authenticator;

revoke all on schema api, bi from public;
revoke all on all tables in schema api from public, anon, api_reader, api_monitor, api_publisher, api_user;
revoke all on all functions in schema api from public, anon, api_reader, api_monitor, api_publisher, api_user;
revoke all on all functions in schema bi from public, anon, api_reader, api_monitor, api_publisher, api_user;
revoke all on all sequences in schema api from public, anon, api_reader, api_monitor, api_publisher, api_user;

grant usage on schema api to api_user, api_publisher, api_monitor;
grant select, insert, update on
    api.knack,
    api.odk,
    api.knack_metadata,
    api.odk_metadata,
    api.odk_attachments,
    api.odk_loads,
    api.runs,
    api.rejects,
    api.counts,
    api.published_columns
to api_user;
grant select, insert, update on api.replaces to api_user;
grant select, insert, update, delete on api.load_pages, api.shards to api_user;

grant select on api.knack, api.odk, api.knack_metadata, api.odk_metadata, api.odk_attachments to api_publisher;
grant select, insert, update on api.runs, api.rejects, api.counts, api.published_columns to api_publisher;

-- What was refused may hold what nobody else is to see: the monitor is told of it without its content.
grant select (reject_id, run_id, destination, record_id, reason, created_at, closed_at) on api.rejects to api_monitor;
grant select on
    api.knack,
    api.odk,
    api.knack_metadata,
    api.odk_metadata,
    api.runs,
    api.counts
to api_monitor;

grant execute on function
    api.state(api.runs),
    api.tells(api.runs),
    api.list_standings(),
    api.status(),
    api.recent_runs(integer),
    api.count_documents(json),
    api.count_waiting(json),
    api.sample_documents(text, text, text, integer, integer)
to api_user, api_publisher, api_monitor;
grant execute on function
    api.watermark(),
    api.migrations(),
    api.is_due(text, text, text, text, text, timestamptz, boolean),
    api.find_start(text, text, text, text, text, timestamptz, text, text, text),
    api.start_run(
        text, text, text, text, text, timestamptz, text, text, uuid, uuid, integer, integer, text, boolean,
        timestamptz, text, text, text
    ),
    api.beat_run(uuid),
    api.close_run(uuid, text, timestamptz, bigint, bigint, bigint, bigint, bigint, bigint, text),
    api.keep_rejects(uuid, json),
    api.close_rejects(uuid, boolean, text[]),
    api.keep_counts(text, text, text, json),
    -- Comparing only: they read what a publisher may read.
    api.same_documents(text, text, text, text[], text[]),
    api.find_submissions(text, text, text[], text[]),
    api.odk_text(json, text[])
to api_user, api_publisher;
grant execute on function
    api.clear_load_pages(),
    api.missing_records(uuid, text, text, text, uuid),
    api.current_replace(text, text, text, text, integer, text),
    api.find_replace(text, text, text, text, integer, text),
    api.keep_shard(uuid, timestamptz, bigint, bigint),
    api.remove_documents(uuid, text, text, text, text[]),
    api.put_document(text, text, text, text, text),
    api.load_documents(text),
    api.media_to_check(text, text, integer),
    api.count_media(text, text),
    api.purge_tombstones(text, text, text, timestamptz),
    api.refresh_views(text, text, text),
    api.odk_media(json),
    api.odk_standing(text, text, text, integer, integer, integer),
    api.keep_odk_load(uuid, text, text, text, json, timestamptz, text)
to api_user;

grant usage on schema bi to api_reader;
grant select on all tables in schema bi to api_reader;
alter default privileges in schema bi grant select on tables to api_reader;
-- A view reads its tables with its owner's rights, but calls functions with its reader's.
grant execute on all functions in schema bi to api_reader;
