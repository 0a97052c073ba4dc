-- How every container stands, in one question.
-- Locks: nothing that exists (new objects only).

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
    open_rejects bigint
)
language sql
stable
as $$
    with latest as (
        select distinct on (r.script, r.app, r.container, r.env, r.destination) r.*, api.state(r) as state
        from api.runs r
        order by r.script, r.app, r.container, r.env, r.destination, r.started_at desc
    )
    select
        l.script,
        l.app,
        l.container,
        l.env,
        l.destination,
        l.state,
        l.started_at,
        l.finished_at,
        l.read,
        l.inserted,
        l.updated,
        l.unchanged,
        l.deleted,
        l.rejected,
        l.error,
        (
            select r.watermark
            from api.runs r
            where r.script = l.script
                and r.app = l.app
                and r.container is not distinct from l.container
                and r.destination = l.destination
                and r.env is not distinct from l.env
                and r.status = 'ok'
                and r.watermark is not null
            order by r.started_at desc
            limit 1
        ),
        (
            select max(r.finished_at)
            from api.runs r
            where r.script = l.script
                and r.app = l.app
                and r.container is not distinct from l.container
                and r.destination = l.destination
                and r.env is not distinct from l.env
                and r.status = 'ok'
        ),
        (select count(*) from api.rejects j where j.destination = l.destination and j.closed_at is null)
    from latest l
    order by l.app, l.container, l.env, l.script
$$;
comment on function api.status() is
    'The latest run of every script on every container and destination, its state (dead: its heartbeat stopped), the last watermark, and how many of its records are refused.';
