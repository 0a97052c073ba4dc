-- What filled a destination's columns when it was last published, so that a field that was renamed or removed at its
-- source is seen before its column grows old in silence.
-- Locks: nothing that exists (new objects only).

create table api.published_columns (
    destination text collate "C" not null,
    app text collate "C" not null,
    container text collate "C" not null,
    columns json not null,
    updated_at timestamptz not null default clock_timestamp(),
    constraint published_columns_pkey primary key (destination, app, container)
);
comment on table api.published_columns is
    'For each container and destination: which field filled which column when it was last published.';
comment on column api.published_columns.destination is 'What was written, as in api.runs.';
comment on column api.published_columns.app is 'The app, as the configuration names it.';
comment on column api.published_columns.container is 'The container, as the configuration names it.';
comment on column api.published_columns.columns is
    'By column: {"field": its key or path at the source, "name": as people see it there, "type": the source''s}. One that gets no more values stays until that is mended or accepted.';
comment on column api.published_columns.updated_at is 'When this last changed.';
