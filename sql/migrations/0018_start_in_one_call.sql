-- What a run starts from comes with the answer that opens it: one call where there were four.
-- Locks: nothing that is held for long; api.start_run() is made anew with more arguments, all of which have defaults.

create function api.is_due(
    script text,
    app text,
    container text,
    destination text,
    env text,
    due_at timestamptz,
    whole boolean default false
)
returns boolean
language sql
stable
as $$
    select not exists (
        select
        from api.runs r
        where r.script = is_due.script
            and coalesce(r.app, '') = coalesce(is_due.app, '')
            and coalesce(r.container, '') = coalesce(is_due.container, '')
            and coalesce(r.env, '') = coalesce(is_due.env, '')
            and r.destination = is_due.destination
            and r.started_at >= is_due.due_at
            and case
                -- A shard is a part of everything; its finishing run stands for all of it. What was refused would be
                -- refused again however often all is sent.
                when is_due.whole then r.status in ('ok', 'partial') and r.since is null and r.shard is null
                else r.status = 'ok'
            end
    )
$$;
comment on function api.is_due(text, text, text, text, text, timestamptz, boolean) is
    'Whether no run has been begun since then and ended well; whole: only runs that covered everything count.';

create function api.find_start(
    script text,
    app text,
    container text,
    destination text,
    env text,
    full_due_at timestamptz default null,
    source text default null,
    app_id text default null,
    container_id text default null
)
returns table (
    since timestamptz,
    last_watermark timestamptz,
    is_full_due boolean,
    open_rejects json,
    metadata json
)
language sql
stable
as $$
    select
        case when not due.is_full_due then last.watermark end,
        last.watermark,
        due.is_full_due,
        (
            select coalesce(json_agg(j.record_id), '[]')
            from (
                select r.record_id
                from api.rejects r
                where r.destination = find_start.destination and r.closed_at is null
                limit 100000
            ) j
        ),
        case find_start.source
            when 'knack' then (select m.metadata from api.knack_metadata m where m.app_id = find_start.app_id)
            when 'odk' then (
                select m.metadata
                from api.odk_metadata m
                where m.app_id = find_start.app_id and m.container_id = find_start.container_id
            )
        end
    from (
        select
            find_start.full_due_at is not null
            and api.is_due(
                find_start.script,
                find_start.app,
                find_start.container,
                find_start.destination,
                find_start.env,
                find_start.full_due_at,
                true
            ) as is_full_due
    ) due
    left join lateral (
        select r.watermark
        from api.runs r
        where r.script = find_start.script
            and coalesce(r.app, '') = coalesce(find_start.app, '')
            and coalesce(r.container, '') = coalesce(find_start.container, '')
            and coalesce(r.env, '') = coalesce(find_start.env, '')
            and r.destination = find_start.destination
            and r.status = 'ok'
            and r.watermark is not null
        order by r.started_at desc
        limit 1
    ) last on true
$$;
comment on function api.find_start(text, text, text, text, text, timestamptz, text, text, text) is
    'What a run starts from: since when changes are to come (null: everything, where no run ended ok or a full one is due), the last watermark, the records that are refused, and with a source the metadata of its app or form.';

drop function api.start_run(
    text, text, text, text, text, timestamptz, text, text, uuid, uuid, integer, integer, text
);
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
    run_id uuid default null,
    shards integer default null,
    shard integer default null,
    round text default '',
    since_last boolean default false,
    full_due_at timestamptz default null,
    source text default null,
    app_id text default null,
    container_id text default null
)
returns json
language plpgsql
as $$
declare
    holder api.runs;
    started api.runs;
    own api.replaces;
    start record;
    -- Taken first: all that is written from now on belongs to the next incremental run.
    surely_delivered timestamptz := api.watermark();
begin
    perform pg_advisory_xact_lock(82718, hashtext(start_run.destination));
    -- The call is repeated where its answer was lost, and what was lost may be carried out late.
    select *
    into started
    from api.runs r
    where r.run_id = start_run.run_id;
    if started.status <> 'running' then
        return json_build_object('busy', row_to_json(started));
    end if;
    select *
    into start
    from api.find_start(
        start_run.script,
        start_run.app,
        start_run.container,
        start_run.destination,
        start_run.env,
        start_run.full_due_at,
        start_run.source,
        start_run.app_id,
        start_run.container_id
    );
    if started.status = 'running' then
        return json_build_object(
            'run_id', started.run_id,
            'started_at', started.started_at,
            'watermark', surely_delivered,
            'since', started.since,
            'start', row_to_json(start)
        );
    end if;
    if start_run.shards is not null then
        own := api.current_replace(
            start_run.destination,
            start_run.app,
            start_run.container,
            start_run.env,
            start_run.shards,
            start_run.round
        );
        -- A shard that comes after the end opens the next replace; a finishing run may be repeated.
        if start_run.shard is not null and own.finished_at is not null then
            own := null;
        end if;
    end if;
    for holder in
        select *
        from api.runs r
        where r.destination = start_run.destination
            and r.status = 'running'
            -- The other shards of the same replace are no rivals.
            and not coalesce(r.replace_id = own.replace_id and r.shard <> start_run.shard, false)
        order by r.started_at
        for update
    loop
        if api.state(holder) <> 'dead' and holder.run_id is distinct from start_run.dead then
            return json_build_object('busy', row_to_json(holder));
        end if;
        update api.runs r
        set status = 'failed',
            error = 'the process died: its heartbeat stopped',
            finished_at = clock_timestamp()
        where r.run_id = holder.run_id;
    end loop;
    if start_run.shard is not null then
        if own.replace_id is null then
            -- What is left of earlier ones counts no more.
            delete from api.shards s
            using api.replaces p
            where p.replace_id = s.replace_id and p.destination = start_run.destination;
            insert into api.replaces (destination, app, container, env, shards, round)
            values (
                start_run.destination,
                start_run.app,
                start_run.container,
                start_run.env,
                start_run.shards,
                start_run.round
            )
            returning * into own;
        end if;
        delete from api.shards s
        where s.replace_id = own.replace_id and s.shard = start_run.shard;
    end if;
    insert into api.runs (
        run_id, script, app, container, destination, env, since, host, process, replace_id, shard
    )
    values (
        coalesce(start_run.run_id, gen_random_uuid()),
        start_run.script,
        start_run.app,
        start_run.container,
        start_run.destination,
        start_run.env,
        case when start_run.since_last then start.since else start_run.since end,
        start_run.host,
        start_run.process,
        own.replace_id,
        start_run.shard
    )
    returning * into started;
    return json_build_object(
        'run_id', started.run_id,
        'started_at', started.started_at,
        'watermark', surely_delivered,
        'since', started.since,
        'start', row_to_json(start)
    );
end;
$$;
comment on function api.start_run(
    text, text, text, text, text, timestamptz, text, text, uuid, uuid, integer, integer, text, boolean, timestamptz,
    text, text, text
) is
    'Opens a run, under the id that the caller gives, and gives its id, the store''s watermark, since when changes are to come, and as "start" what api.find_start() gives; or, while another run writes the same destination, that run as "busy". A dead run, or the one named as dead, is closed as failed and its place taken. With shards it is a shard, or without a number the finishing run, of a replace; its shards run beside one another. With since_last it goes on where the last one ended, unless a full one is due.';
