-- Since when something is wrong, the runs before, and how far each destination has come: for status.py. The latest
-- runs are found by jumping along an index, so that a ledger of years is as quick as one of days.
-- Locks: a short share lock on api.runs while its index is built; api.status() is made anew with more columns.

create index runs_script_app_container_env_destination_started_at_idx
    on api.runs (script, (coalesce(app, '')), (coalesce(container, '')), (coalesce(env, '')), destination, started_at);

create function api.list_standings()
returns table (script text, app text, container text, env text, destination text)
language sql
stable
as $$
    with recursive walk as (
        (
            select r.script, coalesce(r.app, '') as app, coalesce(r.container, '') as container,
                coalesce(r.env, '') as env, r.destination
            from api.runs r
            order by 1, 2, 3, 4, 5
            limit 1
        )
        union all
        select n.*
        from walk w
        cross join lateral (
            select r.script, coalesce(r.app, '') as app, coalesce(r.container, '') as container,
                coalesce(r.env, '') as env, r.destination
            from api.runs r
            where (r.script, coalesce(r.app, ''), coalesce(r.container, ''), coalesce(r.env, ''), r.destination)
                > (w.script, w.app, w.container, w.env, w.destination)
            order by 1, 2, 3, 4, 5
            limit 1
        ) n
    )
    select * from walk
$$;
comment on function api.list_standings() is
    'Every script, app, container, environment and destination that has a run; empty texts where a run has none.';

drop function api.status();
create function api.status()
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
        select r.*
        from api.runs r
        where r.script = g.script and coalesce(r.app, '') = g.app and coalesce(r.container, '') = g.container
            and coalesce(r.env, '') = g.env and r.destination = g.destination
        order by r.started_at desc
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
        order by r.started_at desc
        limit 1
    ) fine on true
    left join lateral (
        select r.started_at, r.finished_at
        from api.runs r
        where r.script = g.script and coalesce(r.app, '') = g.app and coalesce(r.container, '') = g.container
            and coalesce(r.env, '') = g.env and r.destination = g.destination and r.status in ('ok', 'partial')
        order by r.started_at desc
        limit 1
    ) done on true
    left join lateral (
        select r.finished_at, r.read
        from api.runs r
        where r.script = g.script and coalesce(r.app, '') = g.app and coalesce(r.container, '') = g.container
            and coalesce(r.env, '') = g.env and r.destination = g.destination
            and r.status in ('ok', 'partial') and r.since is null
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
    ) failing on true
    order by g.app, g.container, g.env, g.script, g.destination
$$;
comment on function api.status() is
    'The latest run of every script on every container and destination, its state (dead: its heartbeat stopped); the last watermark; when a run last ended ok, was last done (ok or partial), last covered everything and how many records it read; since when and in how many runs it has failed; how many records are refused.';

create function api.recent_runs(most integer default 30)
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
            order by r.started_at desc
            limit greatest(recent_runs.most, 0)
        ) o
    ) l
    order by g.app, g.container, g.env, g.script, g.destination
$$;
comment on function api.recent_runs(integer) is
    'The latest runs of every script on every container and destination, oldest first, each an array: state, started_at, finished_at, since, read, inserted, updated, unchanged, deleted, rejected, error.';

create function api.count_documents(places json)
returns table (source text, app_id text, container_id text, alive bigint, deleted bigint, changed_at timestamptz)
language sql
stable
as $$
    select p.source, p.app_id, p.container_id, c.alive, c.deleted, c.changed_at
    from json_to_recordset(count_documents.places) as p (source text, app_id text, container_id text)
    cross join lateral (
        select
            count(*) filter (where d.deleted_at is null) as alive,
            count(d.deleted_at) as deleted,
            max(d.updated_at) as changed_at
        from api.knack d
        where d.app_id = p.app_id and d.container_id = p.container_id
    ) c
    where p.source = 'knack'
    union all
    select p.source, p.app_id, p.container_id, c.alive, c.deleted, c.changed_at
    from json_to_recordset(count_documents.places) as p (source text, app_id text, container_id text)
    cross join lateral (
        select
            count(*) filter (where d.deleted_at is null) as alive,
            count(d.deleted_at) as deleted,
            max(d.updated_at) as changed_at
        from api.odk d
        where d.app_id = p.app_id and d.container_id = p.container_id
    ) c
    where p.source = 'odk'
$$;
comment on function api.count_documents(json) is
    'For each of [{"source", "app_id", "container_id"}]: documents alive, tombstones, and when one last changed.';

create function api.count_waiting(marks json)
returns table (source text, app_id text, container_id text, watermark timestamptz, waiting bigint, since timestamptz)
language sql
stable
as $$
    select m.source, m.app_id, m.container_id, m.watermark, w.waiting, w.since
    from json_to_recordset(count_waiting.marks)
        as m (source text, app_id text, container_id text, watermark timestamptz)
    cross join lateral (
        select count(*) as waiting, min(d.updated_at) as since
        from api.knack d
        where d.app_id = m.app_id and d.container_id = m.container_id and d.updated_at >= m.watermark
    ) w
    where m.source = 'knack'
    union all
    select m.source, m.app_id, m.container_id, m.watermark, w.waiting, w.since
    from json_to_recordset(count_waiting.marks)
        as m (source text, app_id text, container_id text, watermark timestamptz)
    cross join lateral (
        select count(*) as waiting, min(d.updated_at) as since
        from api.odk d
        where d.app_id = m.app_id and d.container_id = m.container_id and d.updated_at >= m.watermark
    ) w
    where m.source = 'odk'
$$;
comment on function api.count_waiting(json) is
    'For each of [{"source", "app_id", "container_id", "watermark"}]: how many documents have changed at or after the watermark, and since when the first of them.';

create function api.sample_documents(source text, app_id text, container_id text, every integer, most integer)
returns text[]
language sql
stable
as $$
    select coalesce(array_agg(s.record_id), '{}')
    from (
        (
            select d.record_id
            from api.knack d
            where sample_documents.source = 'knack'
                and d.app_id = sample_documents.app_id
                and d.container_id = sample_documents.container_id
                and d.deleted_at is null
                and mod(hashtext(d.record_id)::bigint + 2147483648, greatest(sample_documents.every, 1)) = 0
            order by d.record_id
            limit greatest(sample_documents.most, 0)
        )
        union all
        (
            select d.record_id
            from api.odk d
            where sample_documents.source = 'odk'
                and d.app_id = sample_documents.app_id
                and d.container_id = sample_documents.container_id
                and d.deleted_at is null
                and mod(hashtext(d.record_id)::bigint + 2147483648, greatest(sample_documents.every, 1)) = 0
            order by d.record_id
            limit greatest(sample_documents.most, 0)
        )
    ) s
$$;
comment on function api.sample_documents(text, text, text, integer, integer) is
    'Ids of about every n-th living document of a container, spread evenly and the same each time; at most so many.';
