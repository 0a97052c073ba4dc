-- A full load in several processes: each shard reads a part of the pages, one finishing run closes the replace.
-- Locks: api.runs against everything, for the moment that its index of running runs is built anew.

create table api.replaces (
    replace_id uuid not null default gen_random_uuid(),
    destination text not null,
    app text,
    container text,
    env text,
    shards integer not null,
    round text not null default '',
    started_at timestamptz not null default clock_timestamp(),
    finished_at timestamptz,
    constraint replaces_pkey primary key (replace_id),
    constraint replaces_shards_check check (shards > 0)
);
create index replaces_destination_started_at_idx on api.replaces (destination, started_at);
comment on table api.replaces is
    'Full loads that several processes share, the shards. The latest of a destination is the one under way.';
comment on column api.replaces.replace_id is 'The replace.';
comment on column api.replaces.destination is 'What it writes, as in api.runs.';
comment on column api.replaces.app is 'The app''s name in the configuration.';
comment on column api.replaces.container is 'The container''s id in the configuration.';
comment on column api.replaces.env is 'prod or dev.';
comment on column api.replaces.shards is 'How many shards there are.';
comment on column api.replaces.round is
    'The name that its callers gave it; empty where they gave none, and belong together by the time.';
comment on column api.replaces.started_at is 'When its first shard began.';
comment on column api.replaces.finished_at is 'When a finishing run closed it; null while shards may still come.';

-- Null in both: a run on its own. A shard has both, a finishing run the replace alone.
alter table api.runs
    add column replace_id uuid,
    add column shard integer,
    add constraint runs_replace_id_fkey foreign key (replace_id) references api.replaces (replace_id);
create index runs_replace_id_idx on api.runs (replace_id) where replace_id is not null;
comment on column api.runs.replace_id is 'The replace that the run is a shard of, or finishes; null: a run on its own.';
comment on column api.runs.shard is 'The shard''s number, from 1. A shard moves no watermark: its finishing run does.';

-- Shards of one replace run beside one another; api.start_run keeps all others apart.
drop index api.runs_destination_running_key;
create unique index runs_destination_running_key
    on api.runs (destination, coalesce(shard, 0)) where status = 'running';

create table api.shards (
    replace_id uuid not null,
    shard integer not null,
    run_id uuid not null,
    delivered_to timestamptz not null,
    pages bigint not null,
    records bigint not null,
    constraint shards_pkey primary key (replace_id, shard),
    constraint shards_run_id_key unique (run_id),
    constraint shards_replace_id_fkey foreign key (replace_id) references api.replaces (replace_id) on delete cascade,
    constraint shards_run_id_fkey foreign key (run_id) references api.runs (run_id) on delete cascade
);
comment on table api.shards is
    'Shards that read all of their pages: what the finishing run needs to know. A shard that begins again is taken out.';
comment on column api.shards.replace_id is 'The replace.';
comment on column api.shards.shard is 'The shard''s number, from 1.';
comment on column api.shards.run_id is 'The run that read it; the ids it saw are in api.load_pages.';
comment on column api.shards.delivered_to is
    'The source''s clock as it first answered: everything up to here has been delivered of these pages.';
comment on column api.shards.pages is 'Pages that it read.';
comment on column api.shards.records is 'Records that it saw.';

create function api.current_replace(
    destination text,
    app text,
    container text,
    env text,
    shards integer,
    round text
)
returns api.replaces
language sql
stable
as $$
    select latest.*
    from (
        select *
        from api.replaces p
        where p.destination = current_replace.destination
        order by p.started_at desc
        limit 1
    ) latest
    where latest.app is not distinct from current_replace.app
        and latest.container is not distinct from current_replace.container
        and latest.env is not distinct from current_replace.env
        and latest.shards = current_replace.shards
        and latest.round = current_replace.round
        -- Without a name a shard left behind by the last night's round must not count in this one's.
        and (latest.round <> '' or latest.started_at > clock_timestamp() - interval '12 hours')
$$;
comment on function api.current_replace(text, text, text, text, integer, text) is
    'The replace that a shard or finishing run belongs to: the latest of the destination, if it is of as many shards and has that name, or has none and began in the last 12 hours. Null where there is none.';

create function api.find_replace(
    destination text,
    app text,
    container text,
    env text,
    shards integer,
    round text
)
returns json
language sql
stable
as $$
    with mine as (
        select c.*
        from api.current_replace(
            find_replace.destination,
            find_replace.app,
            find_replace.container,
            find_replace.env,
            find_replace.shards,
            find_replace.round
        ) c
        where c.replace_id is not null
    ),
    latest as (
        select p.*
        from api.replaces p
        where p.destination = find_replace.destination
        order by p.started_at desc
        limit 1
    ),
    tries as (
        select distinct on (r.shard) r.*, api.state(r) as state
        from api.runs r
        join mine m on m.replace_id = r.replace_id
        where r.shard is not null
        order by r.shard, r.started_at desc
    )
    select json_build_object(
        'replace', (select row_to_json(m) from mine m),
        'latest', (select row_to_json(l) from latest l),
        'shards', (
            select coalesce(
                json_agg(
                    json_build_object(
                        'shard', t.shard,
                        'state', t.state,
                        'read', t.read,
                        'inserted', t.inserted,
                        'updated', t.updated,
                        'unchanged', t.unchanged,
                        'rejected', t.rejected,
                        'delivered_to', s.delivered_to,
                        'pages', s.pages,
                        'records', s.records,
                        'kept', (
                            select coalesce(sum(cardinality(p.record_ids)), 0)
                            from api.load_pages p
                            where p.run_id = t.run_id
                        )
                    )
                    order by t.shard
                ),
                '[]'
            )
            from tries t
            left join api.shards s on s.run_id = t.run_id
        )
    )
$$;
comment on function api.find_replace(text, text, text, text, integer, text) is
    'How a replace in shards stands: the replace (null where none fits), the latest of the destination, and each shard''s latest run with what it saw.';

create function api.tells(run api.runs)
returns boolean
language sql
stable
as $$
    select run.shard is null
        or run.status not in ('ok', 'partial')
        and not exists (
            select
            from api.runs later
            where later.replace_id = run.replace_id
                and later.shard = run.shard
                and later.started_at > run.started_at
        )
$$;
comment on function api.tells(api.runs) is
    'Whether a run tells how its container stands: a shard does only while it runs, or if it failed and was not run again.';

create function api.keep_shard(run_id uuid, delivered_to timestamptz, pages bigint, records bigint)
returns void
language plpgsql
as $$
declare
    own api.runs;
begin
    select *
    into own
    from api.runs r
    where r.run_id = keep_shard.run_id and r.status = 'running' and r.shard is not null
    for update;
    if not found then
        raise exception 'run % is not running any more', keep_shard.run_id using errcode = 'PT409';
    end if;
    insert into api.shards (replace_id, shard, run_id, delivered_to, pages, records)
    values (own.replace_id, own.shard, own.run_id, keep_shard.delivered_to, keep_shard.pages, keep_shard.records)
    on conflict on constraint shards_pkey do update
    set run_id = excluded.run_id,
        delivered_to = excluded.delivered_to,
        pages = excluded.pages,
        records = excluded.records;
end;
$$;
comment on function api.keep_shard(uuid, timestamptz, bigint, bigint) is
    'Notes that a shard has read all of its pages, for a run that is still running.';

drop function api.start_run(text, text, text, text, text, timestamptz, text, text, uuid, uuid);
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
    round text default ''
)
returns json
language plpgsql
as $$
declare
    holder api.runs;
    started api.runs;
    own api.replaces;
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
        start_run.since,
        start_run.host,
        start_run.process,
        own.replace_id,
        start_run.shard
    )
    returning * into started;
    return json_build_object(
        'run_id', started.run_id,
        'started_at', started.started_at,
        'watermark', surely_delivered
    );
end;
$$;
comment on function api.start_run(
    text, text, text, text, text, timestamptz, text, text, uuid, uuid, integer, integer, text
) is
    'Opens a run, under the id that the caller gives, and gives its id and the store''s watermark; or, while another run writes the same destination, that run as "busy". A dead run, or the one named as dead, is closed as failed and its place taken. With shards it is a shard, or without a number the finishing run, of a replace; its shards run beside one another.';

create or replace function api.close_run(
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
    closed api.runs;
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
    returning * into closed;
    if closed.replace_id is not null and closed.shard is null and closed.status in ('ok', 'partial') then
        update api.replaces p
        set finished_at = clock_timestamp()
        where p.replace_id = closed.replace_id and p.finished_at is null;
    end if;
    return closed.status;
end;
$$;
comment on function api.close_run(uuid, text, timestamptz, bigint, bigint, bigint, bigint, bigint, bigint, text) is
    'Closes a run, and with a finishing run that ended well its replace; null means that it had been taken for dead.';

create or replace function api.close_rejects(run_id uuid, all_seen boolean, record_ids text[])
returns integer
language plpgsql
as $$
declare
    own api.runs;
    -- Of a finishing run: when its replace began, all runs of that, and those whose refusals stand.
    began timestamptz;
    tries uuid[];
    whole uuid[] := '{}';
    closed integer;
begin
    select *
    into own
    from api.runs r
    where r.run_id = close_rejects.run_id;
    if own.replace_id is not null then
        select
            p.started_at,
            (select array_agg(r.run_id) from api.runs r where r.replace_id = p.replace_id),
            (select coalesce(array_agg(s.run_id), '{}') from api.shards s where s.replace_id = p.replace_id)
        into began, tries, whole
        from api.replaces p
        where p.replace_id = own.replace_id;
    end if;
    update api.rejects j
    set closed_at = clock_timestamp()
    where j.destination = own.destination
        and j.closed_at is null
        and j.run_id <> own.run_id
        and (
            j.record_id = any (close_rejects.record_ids)
            -- Two containers may feed one destination: a run has seen all records of its own only.
            or close_rejects.all_seen
            and (began is null or j.created_at < began or j.run_id = any (tries))
            and j.run_id <> all (whole)
            and (own.app, own.container) is not distinct from (
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
    'Closes open rejects of earlier runs whose records this run delivered: all of its container''s but what the shards of its replace refused, or the ones named.';

create or replace function api.clear_load_pages()
returns void
language sql
as $$
    delete from api.load_pages p
    using api.runs r
    where r.run_id = p.run_id
        and r.status <> 'running'
        and not exists (
            select
            from api.shards s
            join api.replaces c on c.replace_id = s.replace_id
            where s.run_id = p.run_id and c.finished_at is null
        )
$$;
comment on function api.clear_load_pages() is
    'Forgets what runs that have ended had seen, but for shards whose replace is not finished.';
comment on table api.load_pages is
    'Ids of the records that a full load under way has read and stored, a page a row; forgotten when its run, or the replace that it is a shard of, has ended.';

drop function api.missing_records(uuid, text, text, text);
create function api.missing_records(
    run_id uuid,
    source text,
    app_id text,
    container_id text,
    replace_id uuid default null
)
returns table (stored bigint, seen bigint, record_ids text[])
language plpgsql
stable
as $$
begin
    return query execute format(
        $query$
        with seen as (
            select distinct unnest(p.record_ids) collate "C" as record_id
            from (
                select own.record_ids
                from api.load_pages own
                where own.run_id = $1
                union all
                select one.record_ids
                from api.shards s
                join api.load_pages one on one.run_id = s.run_id
                where s.replace_id = $4
            ) p
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
                        where s.updated_at < coalesce(
                            (select r.started_at from api.runs r where r.run_id = $1), now()
                        )
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
    using
        missing_records.run_id,
        missing_records.app_id,
        missing_records.container_id,
        missing_records.replace_id;
end;
$$;
comment on function api.missing_records(uuid, text, text, text, uuid) is
    'Compares a full load, or all shards of a replace, with the store: live documents stored, ids seen, and the ids stored but not seen.';

create or replace function api.status()
returns table (
    script text,
    app text,
    container text,
    env text,
    destination text,
    state text,
    started_at timestamptz,
    finished_at timestamptz,
    read bigint,
    inserted bigint,
    updated bigint,
    unchanged bigint,
    deleted bigint,
    rejected bigint,
    error text,
    watermark timestamptz,
    last_ok_at timestamptz,
    open_rejects bigint,
    last_done_at timestamptz,
    failing_since timestamptz,
    failures bigint,
    last_full_at timestamptz,
    last_full_read bigint
)
language sql
stable
as $$
    select
        g.script,
        l.app,
        l.container,
        l.env,
        g.destination,
        api.state(l),
        l.started_at,
        l.finished_at,
        l.read,
        l.inserted,
        l.updated,
        l.unchanged,
        l.deleted,
        l.rejected,
        l.error,
        marked.watermark,
        fine.finished_at,
        (select count(*) from api.rejects j where j.destination = g.destination and j.closed_at is null),
        done.finished_at,
        failing.since,
        failing.runs,
        whole.finished_at,
        whole.read
    from api.list_standings() g
    cross join lateral (
        select either.*
        from (
            (
                select r.*
                from api.runs r
                where r.script = g.script and coalesce(r.app, '') = g.app
                    and coalesce(r.container, '') = g.container
                    and coalesce(r.env, '') = g.env and r.destination = g.destination
                    and api.tells(r)
                order by r.started_at desc
                limit 1
            )
            union all
            -- Where there is nothing else: shards whose replace is not finished.
            (
                select r.*
                from api.runs r
                where r.script = g.script and coalesce(r.app, '') = g.app
                    and coalesce(r.container, '') = g.container
                    and coalesce(r.env, '') = g.env and r.destination = g.destination
                order by r.started_at desc
                limit 1
            )
        ) either
        order by either.shard is not null and either.status in ('ok', 'partial'), either.started_at desc
        limit 1
    ) l
    left join lateral (
        select r.watermark
        from api.runs r
        where r.script = g.script and coalesce(r.app, '') = g.app and coalesce(r.container, '') = g.container
            and coalesce(r.env, '') = g.env and r.destination = g.destination
            and r.status = 'ok' and r.watermark is not null
        order by r.started_at desc
        limit 1
    ) marked on true
    left join lateral (
        select r.finished_at
        from api.runs r
        where r.script = g.script and coalesce(r.app, '') = g.app and coalesce(r.container, '') = g.container
            and coalesce(r.env, '') = g.env and r.destination = g.destination and r.status = 'ok'
            and r.shard is null
        order by r.started_at desc
        limit 1
    ) fine on true
    left join lateral (
        select r.started_at, r.finished_at
        from api.runs r
        where r.script = g.script and coalesce(r.app, '') = g.app and coalesce(r.container, '') = g.container
            and coalesce(r.env, '') = g.env and r.destination = g.destination and r.status in ('ok', 'partial')
            and r.shard is null
        order by r.started_at desc
        limit 1
    ) done on true
    left join lateral (
        select r.finished_at, r.read
        from api.runs r
        where r.script = g.script and coalesce(r.app, '') = g.app and coalesce(r.container, '') = g.container
            and coalesce(r.env, '') = g.env and r.destination = g.destination
            and r.status in ('ok', 'partial') and r.since is null and r.shard is null
        order by r.started_at desc
        limit 1
    ) whole on true
    left join lateral (
        select min(r.started_at) as since, count(*) as runs
        from api.runs r
        where r.script = g.script and coalesce(r.app, '') = g.app and coalesce(r.container, '') = g.container
            and coalesce(r.env, '') = g.env and r.destination = g.destination
            and r.started_at > coalesce(done.started_at, '-infinity')
            and api.state(r) in ('failed', 'dead')
            and api.tells(r)
    ) failing on true
    order by g.app, g.container, g.env, g.script, g.destination
$$;
comment on function api.status() is
    'The latest run of every script on every container and destination, its state (dead: its heartbeat stopped); the last watermark; when a run last ended ok, was last done (ok or partial), last covered everything and how many records it read; since when and in how many runs it has failed; how many records are refused. A shard shows while it runs or if it failed, and counts as none of these.';

create or replace function api.recent_runs(most integer default 30)
returns table (script text, app text, container text, env text, destination text, runs json)
language sql
stable
as $$
    select g.script, g.app, g.container, g.env, g.destination, l.runs
    from api.list_standings() g
    cross join lateral (
        select json_agg(
            json_build_array(
                o.state, o.started_at, o.finished_at, o.since, o.read, o.inserted, o.updated, o.unchanged,
                o.deleted, o.rejected, o.error
            ) order by o.started_at
        ) as runs
        from (
            select r.*, api.state(r) as state
            from api.runs r
            where r.script = g.script and coalesce(r.app, '') = g.app and coalesce(r.container, '') = g.container
                and coalesce(r.env, '') = g.env and r.destination = g.destination
                and api.tells(r)
            order by r.started_at desc
            limit greatest(recent_runs.most, 0)
        ) o
    ) l
    where l.runs is not null or recent_runs.most <= 0
    order by g.app, g.container, g.env, g.script, g.destination
$$;
comment on function api.recent_runs(integer) is
    'The latest runs of every script on every container and destination, oldest first, each an array: state, started_at, finished_at, since, read, inserted, updated, unchanged, deleted, rejected, error. Shards that went well are in their finishing run.';
