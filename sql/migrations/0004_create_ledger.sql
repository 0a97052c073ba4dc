-- The ledger: what every run did, up to where it surely delivered, and what was refused.
-- Locks: nothing that exists (new objects only).

create table api.runs (
    run_id uuid not null default gen_random_uuid(),
    script text not null,
    app text,
    container text,
    destination text not null,
    env text,
    since timestamptz,
    watermark timestamptz,
    status text not null default 'running',
    read bigint not null default 0,
    inserted bigint not null default 0,
    updated bigint not null default 0,
    unchanged bigint not null default 0,
    deleted bigint not null default 0,
    rejected bigint not null default 0,
    error text,
    host text,
    process text,
    started_at timestamptz not null default clock_timestamp(),
    heartbeat_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    constraint runs_pkey primary key (run_id),
    constraint runs_status_check check (status in ('running', 'ok', 'partial', 'failed', 'stopped'))
);
create index runs_script_app_container_destination_started_at_idx
    on api.runs (script, app, container, destination, started_at);
-- One writer for each target; the index is the lock.
create unique index runs_destination_running_key on api.runs (destination) where status = 'running';

comment on table api.runs is 'The ledger: one row for each run of a script on a container.';
comment on column api.runs.run_id is 'The run.';
comment on column api.runs.script is 'The script''s name, without .py.';
comment on column api.runs.app is 'The app''s name in the configuration.';
comment on column api.runs.container is 'The container''s id in the configuration.';
comment on column api.runs.destination is
    'What the run writes: the store''s container, a Socrata dataset, an ArcGIS layer. One run at a time writes it.';
comment on column api.runs.env is 'prod or dev.';
comment on column api.runs.since is 'The run asked for what changed at or after this time; null: for everything.';
comment on column api.runs.watermark is 'Everything up to here has surely been delivered, if the run ended ok.';
comment on column api.runs.status is
    'running; ok; partial (done, but some records were refused); failed; stopped (was told to stop).';
comment on column api.runs.read is 'Records looked at.';
comment on column api.runs.inserted is 'Records that were new to the destination.';
comment on column api.runs.updated is 'Records that were changed in the destination.';
comment on column api.runs.unchanged is 'Records that needed nothing.';
comment on column api.runs.deleted is 'Records that were removed (in the store: became tombstones).';
comment on column api.runs.rejected is 'Records that were refused; they are in api.rejects.';
comment on column api.runs.error is 'Why the run failed, in one line.';
comment on column api.runs.host is 'The machine the run is on.';
comment on column api.runs.process is 'The process on that machine: its number and when it began.';
comment on column api.runs.started_at is 'When the run began.';
comment on column api.runs.heartbeat_at is 'When the run last showed that it is alive.';
comment on column api.runs.finished_at is 'When the run ended.';

create table api.rejects (
    reject_id bigint generated always as identity,
    run_id uuid not null,
    destination text not null,
    record_id text not null,
    reason text not null,
    content json,
    created_at timestamptz not null default clock_timestamp(),
    closed_at timestamptz,
    constraint rejects_pkey primary key (reject_id),
    constraint rejects_run_id_fkey foreign key (run_id) references api.runs (run_id) on delete cascade
);
-- A record that is refused again and again has one open reject.
create unique index rejects_destination_record_id_key
    on api.rejects (destination, record_id) where closed_at is null;
create index rejects_run_id_idx on api.rejects (run_id);

comment on table api.rejects is 'Documents and rows that were refused, and why.';
comment on column api.rejects.reject_id is 'The reject.';
comment on column api.rejects.run_id is 'The run in which it was last refused.';
comment on column api.rejects.destination is 'What refused it: the same words as in api.runs.';
comment on column api.rejects.record_id is 'The record, in its container.';
comment on column api.rejects.reason is 'The field and the rule, never the value.';
comment on column api.rejects.content is 'The document or row that was refused.';
comment on column api.rejects.created_at is 'When it was last refused.';
comment on column api.rejects.closed_at is 'When it was accepted after all; null while it is open.';

create function api.state(run api.runs)
returns text
language sql
stable
as $$
    select case
        when run.status = 'running' and run.heartbeat_at < now() - interval '60 seconds' then 'dead'
        else run.status
    end
$$;
comment on function api.state(api.runs) is
    'The run''s status, or dead: it says running, but its heartbeat stopped (GET /runs?select=*,state).';

create function api.start_run(
    script text,
    app text,
    container text,
    destination text,
    env text,
    since timestamptz,
    host text,
    process text,
    dead uuid default null,
    run_id uuid default null
)
returns json
language plpgsql
as $$
declare
    holder api.runs;
    started api.runs;
    -- Taken first: all that is written from now on belongs to the next incremental run.
    surely_delivered timestamptz := api.watermark();
begin
    perform pg_advisory_xact_lock(82718, hashtext(start_run.destination));
    -- The call is repeated where its answer was lost, and what was lost may be carried out late.
    select *
    into started
    from api.runs r
    where r.run_id = start_run.run_id;
    if found then
        if started.status <> 'running' then
            return json_build_object('busy', row_to_json(started));
        end if;
        return json_build_object(
            'run_id', started.run_id,
            'started_at', started.started_at,
            'watermark', surely_delivered
        );
    end if;
    select *
    into holder
    from api.runs r
    where r.destination = start_run.destination and r.status = 'running'
    for update;
    if found then
        if api.state(holder) <> 'dead' and holder.run_id is distinct from start_run.dead then
            return json_build_object('busy', row_to_json(holder));
        end if;
        update api.runs r
        set status = 'failed',
            error = 'the process died: its heartbeat stopped',
            finished_at = clock_timestamp()
        where r.run_id = holder.run_id;
    end if;
    insert into api.runs (run_id, script, app, container, destination, env, since, host, process)
    values (
        coalesce(start_run.run_id, gen_random_uuid()),
        start_run.script,
        start_run.app,
        start_run.container,
        start_run.destination,
        start_run.env,
        start_run.since,
        start_run.host,
        start_run.process
    )
    returning * into started;
    return json_build_object(
        'run_id', started.run_id,
        'started_at', started.started_at,
        'watermark', surely_delivered
    );
end;
$$;
comment on function api.start_run(text, text, text, text, text, timestamptz, text, text, uuid, uuid) is
    'Opens a run, under the id that the caller gives, and gives its id and the store''s watermark; or, while another run writes the same destination, that run as "busy". A dead run, or the one named as dead, is closed as failed and its place taken.';

create function api.beat_run(run_id uuid)
returns text
language sql
as $$
    update api.runs r
    set heartbeat_at = clock_timestamp()
    where r.run_id = beat_run.run_id and r.status = 'running'
    returning r.status
$$;
comment on function api.beat_run(uuid) is
    'Shows that a run is alive; null means that it was closed or taken for dead, and must stop.';

create function api.close_run(
    run_id uuid,
    status text,
    watermark timestamptz,
    read bigint,
    inserted bigint,
    updated bigint,
    unchanged bigint,
    deleted bigint,
    rejected bigint,
    error text
)
returns text
language plpgsql
as $$
declare
    closed text;
begin
    update api.runs r
    set status = close_run.status,
        watermark = close_run.watermark,
        read = close_run.read,
        inserted = close_run.inserted,
        updated = close_run.updated,
        unchanged = close_run.unchanged,
        deleted = close_run.deleted,
        rejected = close_run.rejected,
        error = close_run.error,
        heartbeat_at = clock_timestamp(),
        finished_at = clock_timestamp()
    where r.run_id = close_run.run_id
        -- Repeating the call (its answer was lost) finds its own work and says the same.
        and r.status in ('running', close_run.status)
    returning r.status into closed;
    return closed;
end;
$$;
comment on function api.close_run(uuid, text, timestamptz, bigint, bigint, bigint, bigint, bigint, bigint, text) is
    'Closes a run; null means that it had been taken for dead.';

create function api.keep_rejects(run_id uuid, rejects json)
returns integer
language sql
as $$
    insert into api.rejects (run_id, destination, record_id, reason, content)
    select r.run_id, r.destination, j.record_id, j.reason, j.content
    from api.runs r,
        json_to_recordset(keep_rejects.rejects) as j (record_id text, reason text, content json)
    where r.run_id = keep_rejects.run_id
    on conflict (destination, record_id) where closed_at is null do update
    set run_id = excluded.run_id,
        reason = excluded.reason,
        content = excluded.content,
        created_at = clock_timestamp();
    select json_array_length(keep_rejects.rejects)
$$;
comment on function api.keep_rejects(uuid, json) is
    'Keeps what a run could not deliver: [{"record_id", "reason", "content"}]. A record has one open reject.';

create function api.close_rejects(run_id uuid, all_seen boolean, record_ids text[])
returns integer
language plpgsql
as $$
declare
    closed integer;
begin
    update api.rejects j
    set closed_at = clock_timestamp()
    from api.runs r
    where r.run_id = close_rejects.run_id
        and j.destination = r.destination
        and j.closed_at is null
        and j.run_id <> r.run_id
        and (
            j.record_id = any (close_rejects.record_ids)
            -- Two containers may feed one destination: a run has seen all records of its own only.
            or close_rejects.all_seen
            and (r.app, r.container) is not distinct from (
                select (o.app, o.container)
                from api.runs o
                where o.run_id = j.run_id
            )
        );
    get diagnostics closed = row_count;
    return closed;
end;
$$;
comment on function api.close_rejects(uuid, boolean, text[]) is
    'Closes open rejects of earlier runs whose records this run delivered: all of its container''s, or the ones named.';
