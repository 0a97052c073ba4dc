-- An incremental read must not miss a row whose transaction was still open when the previous read began.
-- Every transaction that writes documents therefore shows since when it may be writing, by a shared
-- advisory lock whose number is that second; the watermark is never later than the oldest of them.
-- (Locks are released after a commit is visible, so a lock that is gone means rows that can be seen.)
-- Locks: takes a short exclusive lock on api.knack and api.odk to add a trigger.

create function api.show_writer()
returns trigger
language plpgsql
as $$
begin
    -- One lock for a transaction, its first: a long one would fill the table of locks.
    if coalesce(current_setting('api.shown', true), '') = '' then
        -- 82717 is this project's lock class; seconds are counted from 2020 so that they fit an integer.
        perform pg_advisory_xact_lock_shared(
            82717, floor(extract(epoch from clock_timestamp()) - 1577836800)::integer
        );
        perform set_config('api.shown', 'yes', true);
    end if;
    return null;
end;
$$;
comment on function api.show_writer() is 'Shows by a lock since when this transaction has been writing documents.';

create trigger knack_show_writer
    before insert or update on api.knack
    for each statement execute function api.show_writer();

create trigger odk_show_writer
    before insert or update on api.odk
    for each statement execute function api.show_writer();

create function api.watermark()
returns timestamptz
language plpgsql
volatile
as $$
declare
    -- The clock is read before the locks: a writer that shows up in between writes later times.
    read_at timestamptz := clock_timestamp();
    writing_since timestamptz;
begin
    select min(to_timestamp(objid::bigint + 1577836800))
    into writing_since
    from pg_locks
    where locktype = 'advisory'
        and classid = 82717
        and objsubid = 2
        and database = (select oid from pg_database where datname = current_database());
    return least(read_at, writing_since);
end;
$$;
comment on function api.watermark() is
    'A time before which no document will any more be changed: rows with an earlier updated_at can all be seen now.';
