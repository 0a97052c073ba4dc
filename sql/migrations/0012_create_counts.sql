-- How many records each place of a container held when they were last compared, and how many of them differed.
-- Locks: nothing that exists (new objects only).

create table api.counts (
    app text not null,
    container text not null,
    env text not null,
    place text not null,
    destination text not null,
    held bigint not null,
    missing bigint not null default 0,
    extra bigint not null default 0,
    differing bigint not null default 0,
    refused bigint not null default 0,
    counted_at timestamptz not null default clock_timestamp(),
    constraint counts_pkey primary key (app, container, env, place)
);
comment on table api.counts is
    'How many records each place of a container held when they were last compared (reconcile.py), a row for each place.';
comment on column api.counts.app is 'The app''s name in the configuration.';
comment on column api.counts.container is 'The container''s id in the configuration.';
comment on column api.counts.env is 'prod or dev.';
comment on column api.counts.place is 'source, store, socrata or agol.';
comment on column api.counts.destination is
    'The place in the ledger''s words, as in api.runs: a store''s container, a Socrata dataset, an ArcGIS layer.';
comment on column api.counts.held is 'Records, rows or features that it held. Tombstones do not count.';
comment on column api.counts.missing is 'Records that belong there and were not there.';
comment on column api.counts.extra is 'Records that were there and do not belong there.';
comment on column api.counts.differing is 'Records that were there with another content.';
comment on column api.counts.refused is 'Records that the place refuses (api.rejects); they count as none of the others.';
comment on column api.counts.counted_at is 'When it was compared.';

create function api.keep_counts(app text, container text, env text, places json)
returns integer
language sql
as $$
    insert into api.counts as c (app, container, env, place, destination, held, missing, extra, differing, refused)
    select
        keep_counts.app,
        keep_counts.container,
        keep_counts.env,
        p.place,
        p.destination,
        p.held,
        p.missing,
        p.extra,
        p.differing,
        p.refused
    from json_to_recordset(keep_counts.places) as p (
        place text,
        destination text,
        held bigint,
        missing bigint,
        extra bigint,
        differing bigint,
        refused bigint
    )
    on conflict on constraint counts_pkey do update
    set destination = excluded.destination,
        held = excluded.held,
        missing = excluded.missing,
        extra = excluded.extra,
        differing = excluded.differing,
        refused = excluded.refused,
        counted_at = clock_timestamp();
    select json_array_length(keep_counts.places)
$$;
comment on function api.keep_counts(text, text, text, json) is
    'Keeps what a comparison found: [{"place", "destination", "held", "missing", "extra", "differing", "refused"}]; places that it did not reach stay as they were.';
