-- Flat, typed views of the documents in schema bi, built from the stored metadata by api.refresh_views.
-- A view reads each document once, as jsonb, and takes its columns from that. No function that a view calls can
-- fail: a value that cannot be cast or shown is null, or one odd document would take the view from everybody.
-- They have no exception blocks: those forbid parallel plans before PostgreSQL 17.
-- Locks: nothing that exists (new objects only).

-- -- a document as jsonb ------------------------------------------------------------------------------------

create function bi.mend_record(body text)
returns jsonb
language plpgsql
immutable
strict
parallel safe
as $$
declare
    mended text;
    depth integer;
begin
    with token as (
        select m.part[1] as body, m.position, m.part[1] like '"%' as is_text
        -- Texts; what opens, with all that is no text; what closes.
        from regexp_matches(mend_record.body, '"(?:[^"\\]|\\.)*"|[^]}"]+|[]}]+', 'g')
                with ordinality as m (part, position)
    ),
    -- Escaped backslashes and whole surrogate pairs are put away; what looks odd then, is.
    judged as (
        select
            t.*,
            t.is_text and regexp_replace(
                replace(t.body, '\\', ''), '\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}', '', 'g'
            ) ~ '\\u(?:0000|[dD][89a-fA-F])' as is_odd,
            coalesce(lead(t.body) over (order by t.position) ~ '^\s*:', false) as is_name,
            case
                when t.is_text then 0
                else length(translate(t.body, ']}', '')) - length(translate(t.body, '[{', ''))
            end as deeper
        from token t
    ),
    nested as (
        select j.*, sum(j.deeper) over (order by j.position) as depth
        from judged j
    )
    select
        string_agg(
            case
                when n.is_odd and n.is_name then '"\ufffd' || n.position || '"'
                when n.is_odd then 'null'
                when n.is_text then n.body
                else regexp_replace(
                    n.body,
                    '-?[0-9.]+[eE][-+]?[0-9]{4,}|[-+.eE0-9]*[0-9]{250}[-+.eE0-9]*',
                    'null',
                    'g'
                )
            end,
            '' order by n.position
        ),
        max(n.depth)
    into mended, depth
    from nested n;
    return case when depth < 5000 then mended::jsonb end;
end;
$$;
comment on function bi.mend_record(text) is
    'A JSON document as jsonb, with null for each value that jsonb cannot hold; null if it is nested too deep.';

create function bi.read_record(record json)
returns jsonb
language plpgsql
immutable
strict
parallel safe
cost 200
as $$
declare
    -- Unpacked here, not at every use.
    body text := record;
begin
    if
        -- Halves of surrogate pairs and U+0000.
        body like '%\\u%' and regexp_replace(
            replace(body, '\\', ''), '\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}', '', 'g'
        ) ~ '\\u(?:0000|[dD][89a-fA-F])'
        -- Numbers beyond numeric: a long exponent, or thousands of digits.
        or body ~ '[eE][-+]?[0-9]{4,}(?:[],}[:space:]]|$)'
        or octet_length(body) > 15000 and body ~ '[0-9]{250}'
        -- Perhaps deeper than a backend's stack.
        or octet_length(body) > 25000 and length(body) - length(translate(body, '[{', '')) > 5000
    then
        return bi.mend_record(body);
    end if;
    return body::jsonb;
end;
$$;
comment on function bi.read_record(json) is
    'A document as jsonb, whatever is in it: what jsonb cannot hold (U+0000, lone surrogates, numbers beyond numeric) is null.';

-- What all views stand on. A security barrier is not merged with the query around it: so a document is read once
-- for each row (and not at all if no column needs it), in parallel, and nothing that a reader brings along
-- is shown another container's documents. Conditions on the keys still find their index.
create view api.knack_living with (security_barrier) as
select d.app_id, d.container_id, d.record_id, bi.read_record(d.record) as record
from api.knack d
where d.deleted_at is null;
comment on view api.knack_living is 'Records that are in Knack, for the views in bi.';
comment on column api.knack_living.app_id is 'The Knack application''s id.';
comment on column api.knack_living.container_id is 'The Knack object or view the record was read from.';
comment on column api.knack_living.record_id is 'The record''s id in Knack.';
comment on column api.knack_living.record is 'The record; null for what jsonb cannot hold.';

create view api.odk_living with (security_barrier) as
select d.app_id, d.container_id, d.record_id, bi.read_record(d.record) as record
from api.odk d
where d.deleted_at is null;
comment on view api.odk_living is 'Submissions that are in ODK Central, for the views in bi.';
comment on column api.odk_living.app_id is 'The server''s host and the project: host/project id.';
comment on column api.odk_living.container_id is 'The form''s id (xmlFormId).';
comment on column api.odk_living.record_id is 'The submission''s key.';
comment on column api.odk_living.record is 'The submission; null for what jsonb cannot hold.';

create function bi.list_items(value jsonb)
returns jsonb
language sql
immutable
parallel safe
as $$
    select case when jsonb_typeof(value) = 'array' then value else '[]' end
$$;
comment on function bi.list_items(jsonb) is 'A JSON array as it is; an empty one for anything else.';

-- -- text as SQL types --------------------------------------------------------------------------------------

create function bi.to_numeric(value text)
returns numeric
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    if value ~ '^[-+]?[0-9]{1,250}(?:\.[0-9]{0,250})?$' then
        return value::numeric;
    end if;
    if length(value) < 700 and value ~ '^[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][-+]?[0-9]{1,3})?$' then
        return case when abs(value::numeric) < 1.8e308 then value::numeric end;
    end if;
    return null;
end;
$$;
comment on function bi.to_numeric(text) is
    'A number written as text; null if it is none, or beyond what double precision reaches (1.8e308).';

create function bi.to_bigint(value text)
returns bigint
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
declare
    exact numeric;
begin
    if value ~ '^-?[0-9]{1,18}$' then
        return value::bigint;
    end if;
    exact := bi.to_numeric(value);
    return case
        when exact between -9223372036854775808 and 9223372036854775807 and exact = trunc(exact) then exact::bigint
    end;
end;
$$;
comment on function bi.to_bigint(text) is
    'A whole number written as text ("12", "12.0", "1e3"); null if it is none or beyond bigint.';

create function bi.to_boolean(value text)
returns boolean
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    return case
        when lower(value) in ('true', 'yes', '1') then true
        when lower(value) in ('false', 'no', '0') then false
    end;
end;
$$;
comment on function bi.to_boolean(text) is 'true, yes, 1; false, no, 0; null for anything else.';

create function bi.to_date(value text)
returns date
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    -- Days that there are, in the years 1 to 9999; what follows a T is left out.
    if
        value ~ '^(?!0000)[0-9]{4}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))(?:T|$)'
        or value ~ '^(?!0000)(?:[0-9]{2}(?:0[48]|[2468][048]|[13579][26])|(?:[02468][048]|[13579][26])00)-02-29(?:T|$)'
    then
        return left(value, 10)::date;
    end if;
    return null;
end;
$$;
comment on function bi.to_date(text) is
    'The day that an ISO-8601 date or time names; null if there is no such day. A time''s zone does not count.';

create function bi.to_time(value text)
returns time
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    if value ~ '^(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?:Z|[-+][0-9]{2}(?::?[0-9]{2})?)?$' then
        return substring(value from '^[0-9:.]+')::time;
    end if;
    return null;
end;
$$;
comment on function bi.to_time(text) is
    'A time of day as the clock on the wall showed it: an offset behind it is left out. Null if it is none.';

create function bi.keep_instant(value timestamptz)
returns timestamptz
language sql
immutable
parallel safe
as $$
    select case
        when value between timestamptz '0001-01-02 00:00:00+00' and timestamptz '9999-12-31 23:59:59.999999+00'
        then value
    end
$$;
comment on function bi.keep_instant(timestamptz) is
    'An instant as it is; null outside the years 1 to 9999, which clients cannot read.';

create function bi.to_timestamptz(value text)
returns timestamptz
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    if
        value ~ 'T(?:[01][0-9]|2[0-3]):[0-5][0-9](?::[0-5][0-9](?:\.[0-9]{1,9})?)?(?:Z|[-+](?:0[0-9]|1[0-4])(?::?[0-5][0-9])?)?$'
        and bi.to_date(value) is not null
    then
        return bi.keep_instant(
            case when value ~ 'T.*[-+Z]' then value::timestamptz else (value || 'Z')::timestamptz end
        );
    end if;
    return null;
end;
$$;
comment on function bi.to_timestamptz(text) is
    'The instant that an ISO-8601 date and time names, without an offset in UTC; null if it is none.';

create function bi.cast_text(sql_type text, value text)
returns text
language sql
immutable
as $$
    select case
        when sql_type = 'text' then value
        when sql_type = 'timestamp with time zone' then format('bi.to_timestamptz(%s)', value)
        when sql_type = 'time without time zone' then format('bi.to_time(%s)', value)
        when sql_type in ('bigint', 'numeric', 'boolean', 'date') then format('bi.to_%s(%s)', sql_type, value)
        else format('null::%s', sql_type)
    end
$$;
comment on function bi.cast_text(text, text) is
    'SQL that makes a type of a text expression without ever failing; null for a type that text does not become.';

-- -- values of ODK Central ----------------------------------------------------------------------------------

create function bi.show_value(value jsonb)
returns text
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    return case when jsonb_typeof(value) not in ('object', 'array') then nullif(value #>> '{}', '') end;
end;
$$;
comment on function bi.show_value(jsonb) is 'A single value as text; null if it is blank, an object or a list.';

create function bi.show_choices(value text)
returns text
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    return regexp_replace(btrim(value, E' \t\n\r'), '\s+', ', ', 'g');
end;
$$;
comment on function bi.show_choices(text) is 'The choices of a select-multiple field, joined by ", ".';

create function bi.show_place(value jsonb, type text)
returns jsonb
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    return case
        when jsonb_typeof(value -> 'coordinates') = 'array' and value ->> 'type' = case type
            when 'geopoint' then 'Point'
            when 'geotrace' then 'LineString'
            else 'Polygon'
        end
        then value
    end;
end;
$$;
comment on function bi.show_place(jsonb, text) is 'A place as GeoJSON; null if it is none of the field''s kind.';

create function bi.show_repeat(value jsonb)
returns jsonb
language plpgsql
immutable
parallel safe
cost 100
as $$
declare
    body text;
begin
    if jsonb_typeof(value) is distinct from 'array' then
        return '[]';
    end if;
    body := value::text;
    if body not like '%@odata.navigationLink"%' then
        return value;
    end if;
    -- Within a text every quote is escaped, so only members are found.
    body := regexp_replace(body, ', "[^"\\]*@odata\.navigationLink": "(?:[^"\\]|\\.)*"', '', 'g');
    return regexp_replace(body, '"[^"\\]*@odata\.navigationLink": "(?:[^"\\]|\\.)*"(?:, )?', '', 'g')::jsonb;
end;
$$;
comment on function bi.show_repeat(jsonb) is
    'The instances of a repeat as a JSON array, inner repeats within, without the feed''s links; empty if there are none.';

-- -- values of Knack: those of services/utils/knack/values.py ---------------------------------------------------

create function bi.show_text(value jsonb)
returns text
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    return case jsonb_typeof(value)
        when 'array' then (
            select string_agg(item.value #>> '{}', ', ' order by item.position)
            from jsonb_array_elements(show_text.value) with ordinality as item (value, position)
        )
        else nullif(value #>> '{}', '')
    end;
end;
$$;
comment on function bi.show_text(jsonb) is 'A value as text, a list joined by ", "; null if it is blank.';

create function bi.show_displayed(shown jsonb, raw jsonb)
returns text
language plpgsql
immutable
parallel safe
cost 20
as $$
begin
    if shown is null or shown in ('null', '""', '0', 'false', '[]', '{}') then
        return bi.show_text(coalesce(raw, shown));
    end if;
    return bi.show_text(shown);
end;
$$;
comment on function bi.show_displayed(jsonb, jsonb) is
    'The displayed form of a value as text, or where that is blank the raw one: of names and equations.';

create function bi.show_part(value jsonb, part text)
returns text
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    return case when jsonb_typeof(value) = 'object' then value ->> part else bi.show_text(value) end;
end;
$$;
comment on function bi.show_part(jsonb, text) is
    'One part of an object as text: an email''s address, a link''s or file''s URL, a phone''s digits.';

create function bi.show_address(value jsonb)
returns text
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    return case jsonb_typeof(value)
        when 'object' then nullif(
            concat_ws(
                ', ',
                nullif(value ->> 'street', ''),
                nullif(value ->> 'street2', ''),
                nullif(value ->> 'city', ''),
                nullif(value ->> 'state', ''),
                nullif(value ->> 'zip', ''),
                nullif(value ->> 'country', '')
            ),
            ''
        )
        when 'array' then (
            select string_agg(bi.show_address(item.value), '; ' order by item.position)
            from jsonb_array_elements(show_address.value) with ordinality as item (value, position)
        )
        else bi.show_text(value)
    end;
end;
$$;
comment on function bi.show_address(jsonb) is 'An address in one line; several, separated by ";".';

create function bi.show_connection(value jsonb)
returns text
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
begin
    return case jsonb_typeof(value)
        when 'object' then coalesce(value ->> 'identifier', value ->> 'id')
        when 'array' then (
            select string_agg(bi.show_connection(item.value), ', ' order by item.position)
            from jsonb_array_elements(show_connection.value) with ordinality as item (value, position)
            where item.value not in ('null', '""', '[]', '{}')
        )
        else bi.show_text(value)
    end;
end;
$$;
comment on function bi.show_connection(jsonb) is 'What connected records are called, joined by ", ".';

create function bi.show_timer(shown jsonb, raw jsonb)
returns text
language plpgsql
immutable
parallel safe
cost 20
as $$
declare
    value text := bi.show_displayed(shown, raw);
begin
    return replace(replace(replace(value, '<span>', ''), '</span>', ''), '&nbsp;', '; ');
end;
$$;
comment on function bi.show_timer(jsonb, jsonb) is 'A timer as people see it, without HTML.';

create function bi.read_number(shown jsonb, raw jsonb)
returns numeric
language plpgsql
immutable
parallel safe
cost 20
as $$
begin
    return case
        when jsonb_typeof(shown) = 'number' then bi.to_numeric(shown #>> '{}')
        when jsonb_typeof(raw) = 'number' then bi.to_numeric(raw #>> '{}')
        else coalesce(bi.to_numeric(shown #>> '{}'), bi.to_numeric(raw #>> '{}'))
    end;
end;
$$;
comment on function bi.read_number(jsonb, jsonb) is
    'The number of an equation: the displayed one, as it is published; the raw one where that is written with marks.';

create function bi.read_time(value jsonb, zone_name text)
returns timestamptz
language plpgsql
immutable
strict
parallel safe
cost 20
as $$
declare
    milliseconds numeric;
    day integer;
begin
    if jsonb_typeof(value) <> 'object' then
        return bi.to_timestamptz(value #>> '{}');
    end if;
    if jsonb_typeof(value -> 'unix_timestamp') is distinct from 'number' then
        return null;
    end if;
    milliseconds := trunc((value -> 'unix_timestamp')::numeric);
    -- The years 1 to 9999.
    if milliseconds not between -62135596800000 and 253402300799999 then
        return null;
    end if;
    day := floor(milliseconds / 86400000);
    return bi.keep_instant(
        (
            date '1970-01-01' + day + (milliseconds - day::numeric * 86400000)::integer * interval '1 millisecond'
        ) at time zone zone_name
    );
end;
$$;
comment on function bi.read_time(jsonb, text) is
    'The instant of a date/time object, whose unix_timestamp is the local wall clock labelled as UTC; null if it has none.';

-- -- names --------------------------------------------------------------------------------------------------

create function bi.shorten_name(name text)
returns text
language plpgsql
immutable
strict
as $$
declare
    -- PostgreSQL cuts names at 63 bytes without a word, and two may become one.
    head text := name;
begin
    if octet_length(name) <= 63 then
        return name;
    end if;
    head := left(name, 54);
    while octet_length(head) > 54 loop
        head := left(head, -1);
    end loop;
    return head || '_' || left(md5(name), 8);
end;
$$;
comment on function bi.shorten_name(text) is
    'A name that fits PostgreSQL''s 63 bytes: a long one keeps its beginning and ends in 8 digits of its MD5.';

create function bi.fold_name(label text)
returns text
language plpgsql
stable
strict
as $$
declare
    folded text := lower(label);
    unicode text;
begin
    if label ~ '[^\x01-\x7f]' then
        -- In a database of locale C, lower() knows ASCII only.
        select c.collname
        into unicode
        from pg_collation c
        where c.collnamespace = 'pg_catalog'::regnamespace
            and c.collname in ('und-x-icu', 'pg_c_utf8', 'C.utf8', 'C.UTF-8')
            and c.collencoding in (-1, pg_char_to_encoding(getdatabaseencoding()))
        order by array_position('{und-x-icu,pg_c_utf8,C.utf8,C.UTF-8}', c.collname::text)
        limit 1;
        if found then
            execute format('select lower($1 collate %I)', unicode) into folded using label;
        end if;
    end if;
    return replace(replace(folded, ' ', '_'), '-', '_');
end;
$$;
comment on function bi.fold_name(text) is
    'A name as rows have it: lower case, spaces and dashes as underscores.';

create function bi.fold_view_name(label text)
returns text
language sql
stable
strict
as $$
    select btrim(regexp_replace(bi.fold_name(label), '[\x01-/:-@[-^`{-\x7f_]+', '_', 'g'), '_')
$$;
comment on function bi.fold_view_name(text) is
    'A name as a view may have it: as in rows, and everything in ASCII but letters and digits as underscores.';

create function bi.name_view(bases text[], identity text)
returns text
language plpgsql
stable
as $$
declare
    base text;
begin
    foreach base in array bases || format('%s_%s', bases[cardinality(bases)], left(md5(identity), 8)) loop
        base := bi.shorten_name(base);
        if not exists (select from pg_class c where c.relnamespace = 'bi'::regnamespace and c.relname = base) then
            return base;
        end if;
    end loop;
    raise exception 'no name is left for a view like %', bases[1];
end;
$$;
comment on function bi.name_view(text[], text) is
    'The first of some names that is free in bi; if none is, the last with a digest of what the view shows.';

create function bi.name_columns(columns jsonb)
returns jsonb
language plpgsql
stable
as $$
declare
    names text[] := array_fill(null::text, array[jsonb_array_length(columns)]);
    taken text[];
    by_field jsonb;
    wanted text;
    plan record;
begin
    -- A row's own keys come first, then fields, each name once; then those whose name was taken; then what is
    -- made of one field.
    select coalesce(array_agg(c.value ->> 'label'), '{}')
    into taken
    from jsonb_array_elements(columns) c
    where c.value ->> 'key' = '';
    for plan in
        select c.position, c.value ->> 'label' as label, c.value ->> 'key' = '' as is_fixed
        from jsonb_array_elements(columns) with ordinality as c (value, position)
        where c.value ->> 'facet' = ''
        order by c.position
    loop
        if plan.is_fixed then
            names[plan.position] := plan.label;
            continue;
        end if;
        wanted := bi.shorten_name(plan.label);
        if wanted <> all (taken) then
            names[plan.position] := wanted;
            taken := taken || wanted;
        end if;
    end loop;
    for plan in
        select c.position, c.value ->> 'label' as label, c.value ->> 'key' as key
        from jsonb_array_elements(columns) with ordinality as c (value, position)
        where c.value ->> 'facet' = '' and names[c.position] is null
        order by c.position
    loop
        wanted := plan.label;
        while bi.shorten_name(wanted) = any (taken) loop
            wanted := wanted || '_' || plan.key;
        end loop;
        names[plan.position] := bi.shorten_name(wanted);
        taken := taken || names[plan.position];
    end loop;
    select coalesce(jsonb_object_agg(c.value ->> 'field', names[c.position]), '{}')
    into by_field
    from jsonb_array_elements(columns) with ordinality as c (value, position)
    where c.value ->> 'facet' = '';
    for plan in
        select c.position, c.value ->> 'field' as field, c.value ->> 'facet' as facet, c.value ->> 'key' as key
        from jsonb_array_elements(columns) with ordinality as c (value, position)
        where c.value ->> 'facet' <> ''
        order by c.position
    loop
        wanted := (by_field ->> plan.field) || '_' || plan.facet;
        while bi.shorten_name(wanted) = any (taken) loop
            wanted := wanted || '_' || plan.key;
        end loop;
        names[plan.position] := bi.shorten_name(wanted);
        taken := taken || names[plan.position];
    end loop;
    return (
        select coalesce(
            jsonb_agg(c.value || jsonb_build_object('name', names[c.position]) order by c.position), '[]'
        )
        from jsonb_array_elements(columns) with ordinality as c (value, position)
    );
end;
$$;
comment on function bi.name_columns(jsonb) is
    'Planned columns with their names: of several fields with one name the first keeps it, the others end in their key.';

-- -- time zones ---------------------------------------------------------------------------------------------

create function bi.knows_zone(name text)
returns boolean
language plpgsql
stable
as $$
begin
    perform now() at time zone name;
    return true;
exception
    when invalid_parameter_value then
        return false;
end;
$$;
comment on function bi.knows_zone(text) is 'Whether this server knows a time zone.';

create function bi.fold_zone(name text)
returns text
language sql
immutable
as $$
    select regexp_replace(
        regexp_replace(btrim(replace(lower(name), '_', ' ')), '\s+', ' ', 'g'), '\s*,\s*', ',', 'g'
    )
$$;
comment on function bi.fold_zone(text) is 'A time zone''s name without what writers vary: case, underscores, spaces.';

create function bi.find_zone(name text)
returns text
language plpgsql
stable
as $$
declare
    wanted text := bi.fold_zone(name);
    found_zone text;
    knack_zones text[] := array[
        'Samoa|Pacific/Pago_Pago',
        'Hawaii|Pacific/Honolulu',
        'Marquesas Islands|Pacific/Marquesas',
        'Alaska|America/Anchorage',
        'Baja California|America/Tijuana',
        'Pacific Time (US & Canada)|America/Los_Angeles',
        'Chihuahua,Mazatlan|America/Chihuahua',
        'Arizona|America/Phoenix',
        'Mountain Time (US & Canada)|America/Denver',
        'Central Time (US & Canada)|America/Chicago',
        'Central America|America/Guatemala',
        'Guadalajara,Mexico City, Monterrey|America/Mexico_City',
        'Saskatchewan|America/Regina',
        'Bogota, Lima, Quito|America/Bogota',
        'Eastern Time (US & Canada)|America/New_York',
        'Indiana (East)|America/Indiana/Indianapolis',
        'Caracas|America/Caracas',
        'Atlantic Time (Canada)|America/Halifax',
        'Asuncion|America/Asuncion',
        'Cuiaba|America/Cuiaba',
        'Santiago|America/Santiago',
        'Georgetown, La Paz, Manaus, San Juan|America/La_Paz',
        'Newfoundland|America/St_Johns',
        'Buenos Aires|America/Argentina/Buenos_Aires',
        'Brasilia|America/Sao_Paulo',
        'Cayenne, Fortaleza|America/Cayenne',
        'Montevideo|America/Montevideo',
        'Greenland|America/Godthab America/Nuuk',
        'Azores|Atlantic/Azores',
        'Cape Verde Is.|Atlantic/Cape_Verde',
        'Casablanca|Africa/Casablanca',
        'Monrovia,Reykjavik|Atlantic/Reykjavik',
        'Greenwich Mean Time : Dublin, Edinburgh, Lisbon, London|Europe/London',
        'Sarajevo,Skopje, Warsaw, Zagreb|Europe/Warsaw',
        'West Central Africa|Africa/Lagos',
        'Belgrade,Bratislava, Budapest, Ljubljana, Prague|Europe/Budapest',
        'Brussels, Copenhagen,Madrid, Paris|Europe/Paris',
        'Amsterdam,Berlin, Bern, Rome,Stockholm, Vienna|Europe/Berlin',
        'Harare, Pretoria|Africa/Johannesburg',
        'Damascus|Asia/Damascus',
        'Helsinki, Kyiv, Riga, Sofia, Tallinn, Vilnius|Europe/Kiev Europe/Kyiv',
        'Windhoek|Africa/Windhoek',
        'Minsk|Europe/Minsk',
        'Athens,Bucharest, Istanbul|Europe/Istanbul',
        'Amman|Asia/Amman',
        'Beirut|Asia/Beirut',
        'Jerusalem|Asia/Jerusalem',
        'Cairo|Africa/Cairo',
        'Kuwait, Riyadh|Asia/Riyadh',
        'Moscow, St. Petersburg, Volgograd|Europe/Moscow',
        'Baghdad|Asia/Baghdad',
        'Nairobi|Africa/Nairobi',
        'Tehran|Asia/Tehran',
        'Port Louis|Indian/Mauritius',
        'Tbilisi|Asia/Tbilisi',
        'Baku|Asia/Baku',
        'Yerevan|Asia/Yerevan',
        'Abu Dhabi, Muscat|Asia/Dubai',
        'Kabul|Asia/Kabul',
        'Yekaterinburg|Asia/Yekaterinburg',
        'Islamabad,Karachi|Asia/Karachi',
        'Tashkent|Asia/Tashkent',
        'Chennai, Kolkata, Mumbai,New Delhi|Asia/Kolkata',
        'Sri Jayawardenepura|Asia/Colombo',
        'Kathmandu|Asia/Kathmandu',
        'Dhaka|Asia/Dhaka',
        'Novosibirsk|Asia/Novosibirsk',
        'Astana|Asia/Almaty',
        'Yangon (Rangoon)|Asia/Yangon',
        'Krasnoyarsk|Asia/Krasnoyarsk',
        'Bangkok, Hanoi,Jakarta|Asia/Bangkok',
        'Ulaanbaatar|Asia/Ulaanbaatar',
        'Perth|Australia/Perth',
        'Taipei|Asia/Taipei',
        'Kuala Lumpur,Singapore|Asia/Singapore',
        'Beijing,Chongqing,Hong Kong, Urumqi|Asia/Shanghai',
        'Irkutsk|Asia/Irkutsk',
        'Pyongyang|Asia/Pyongyang',
        'Eucla|Australia/Eucla',
        'Seoul|Asia/Seoul',
        'Osaka,Sapporo, Tokyo|Asia/Tokyo',
        'Yakutsk|Asia/Yakutsk',
        'Darwin|Australia/Darwin',
        'Adelaide|Australia/Adelaide',
        'Hobart|Australia/Hobart',
        'Vladivostok|Asia/Vladivostok',
        'Guam, Port Moresby|Pacific/Port_Moresby',
        'Brisbane|Australia/Brisbane',
        'Canberra,Melbourne, Sydney|Australia/Sydney',
        'Lord Howe Island|Australia/Lord_Howe',
        'Magadan, Solomon Is.,New Caledonia|Asia/Magadan',
        'Fiji|Pacific/Fiji',
        'Petropavlovsk-Kamchatsky|Asia/Kamchatka',
        'Auckland, Wellington|Pacific/Auckland',
        'Chatham Islands|Pacific/Chatham',
        'Phoenix Islands, Tokelau, Tonga|Pacific/Enderbury Pacific/Kanton',
        'Line Islands|Pacific/Kiritimati'
    ];
begin
    if name ~ '^(UTC|[A-Z][A-Za-z]+/[A-Za-z_/+-]+)$' and bi.knows_zone(name) then
        return name;
    end if;
    -- Some zones have got new names, which not every server knows.
    select z.zone
    into found_zone
    from unnest(knack_zones) with ordinality as k (line, position),
        lateral unnest(string_to_array(split_part(k.line, '|', 2), ' ')) with ordinality as z (zone, rank)
    where bi.fold_zone(split_part(k.line, '|', 1)) = wanted and bi.knows_zone(z.zone)
    order by k.position, z.rank
    limit 1;
    if found_zone is not null then
        return found_zone;
    end if;
    -- Another spelling, or a city only. (This list takes a tenth of a second to read.)
    select z.zone
    into found_zone
    from (
        select p.name as zone, 1 as rank
        from pg_timezone_names p
        where bi.fold_zone(p.name) = wanted
        union all
        select p.name, 2
        from pg_timezone_names p
        where p.name ~ '^(Africa|America|Asia|Atlantic|Australia|Europe|Indian|Pacific)/[^/]+$'
            and bi.fold_zone(split_part(p.name, '/', 2)) = wanted
        union all
        select a.zone, 3
        from unnest(knack_zones) as k (line),
            lateral unnest(string_to_array(split_part(k.line, '|', 2), ' ')) as a (zone),
            lateral unnest(string_to_array(regexp_replace(split_part(k.line, '|', 1), '^.*:', ''), ',')) as c (city)
        where bi.fold_zone(c.city) = wanted and bi.knows_zone(a.zone)
    ) z
    order by z.rank, z.zone desc
    limit 1;
    return found_zone;
end;
$$;
comment on function bi.find_zone(text) is
    'The time zone, by its IANA name, that Knack means by a name of its own; null if it is not known.';

-- -- what columns a container has ---------------------------------------------------------------------------
-- A plan is an array of columns: {"field": what the column shows, "facet": which part of it ("" the whole),
-- "key": what tells it from others of its name, "label": the name it should have, "type": the source's type,
-- "sql_type", "value": SQL of that type, "shown": SQL of type text, "about": for people}.

create function bi.knack_fields(metadata jsonb, container_id text)
returns table (key text, label text, type text, format jsonb)
language plpgsql
stable
as $$
#variable_conflict use_column
declare
    shown_keys text[];
    view jsonb;
begin
    select v.value
    into view
    from jsonb_array_elements(bi.list_items(metadata #> '{application,scenes}')) s,
        jsonb_array_elements(bi.list_items(s.value -> 'views')) v
    where v.value ->> 'key' = knack_fields.container_id;
    if view ->> 'type' = 'table' then
        select array_agg(c.value #>> '{field,key}')
        into shown_keys
        from jsonb_array_elements(bi.list_items(view -> 'columns')) c;
    elsif view is not null then
        -- Lists, details, forms, maps, calendars and reports each nest their columns in their own way.
        with recursive node (value) as (
            select view
            union all
            select child.value
            from node n,
                lateral (
                    select e.value
                    from jsonb_array_elements(bi.list_items(n.value)) e
                    union all
                    select p.value
                    from jsonb_each(case when jsonb_typeof(n.value) = 'object' then n.value else '{}' end) p
                    -- What it filters, sorts and does names fields without showing them.
                    where p.key not in (
                        'criteria', 'filter_fields', 'links', 'menu_filters', 'preset_filters', 'rules', 'sort',
                        'source', 'totals'
                    )
                ) child
            where jsonb_typeof(child.value) in ('array', 'object')
        )
        select array_agg(k.key)
        into shown_keys
        from node n, lateral (values (n.value -> 'key'), (n.value -> 'field')) as m (value),
            lateral (select m.value #>> '{}' as key where jsonb_typeof(m.value) = 'string') k;
    end if;
    return query
    select
        f.value ->> 'key',
        coalesce(nullif(f.value ->> 'name', ''), f.value ->> 'key'),
        coalesce(f.value ->> 'type', ''),
        f.value -> 'format'
    from jsonb_array_elements(bi.list_items(metadata #> '{application,objects}'))
            with ordinality as o (value, position),
        lateral jsonb_array_elements(bi.list_items(o.value -> 'fields')) with ordinality as f (value, position)
    where jsonb_typeof(f.value -> 'key') = 'string'
        and case
            when view is null then o.value ->> 'key' = knack_fields.container_id
            else f.value ->> 'key' = any (shown_keys)
        end
    order by o.position, f.position;
end;
$$;
comment on function bi.knack_fields(jsonb, text) is
    'The fields of a Knack object, or those that a view shows, in the order of the app''s objects.';

create function bi.plan_knack(metadata jsonb, container_id text)
returns jsonb
language plpgsql
stable
as $$
declare
    zone text := bi.find_zone(metadata #>> '{application,settings,timezone}');
begin
    if zone is null then
        raise exception 'the time zone of the app is not known: %', metadata #>> '{application,settings,timezone}'
        using errcode = 'PT422';
    end if;
    return (
        with field as (
            select
                f.*,
                row_number() over () as position,
                case when bi.fold_name(f.label) = 'id' then '_id' else bi.fold_name(f.label) end as name,
                pg_catalog.format('r.record -> %L', f.key) as shown,
                pg_catalog.format('r.record -> %L', f.key || '_raw') as raw,
                pg_catalog.format('coalesce(r.record -> %L, r.record -> %L)', f.key || '_raw', f.key) as value
            from bi.knack_fields(metadata, plan_knack.container_id) f
        ),
        typed as (
            select
                f.*,
                case
                    when f.type = 'date_time' then 'timestamp with time zone'
                    when f.type in ('auto_increment', 'count') then 'bigint'
                    when f.type in ('number', 'currency', 'sum', 'min', 'max', 'average', 'rating') then 'numeric'
                    when f.type = 'equation' and f.format ->> 'equation_type' = 'numeric' then 'numeric'
                    when f.type = 'boolean' then 'boolean'
                    else 'text'
                end as sql_type,
                case
                    when f.type = 'date_time' then pg_catalog.format('bi.show_text(%s)', f.shown)
                    when f.type in ('name', 'equation')
                        then pg_catalog.format('bi.show_displayed(%s, %s)', f.shown, f.raw)
                    when f.type = 'timer' then pg_catalog.format('bi.show_timer(%s, %s)', f.shown, f.raw)
                    when f.type = 'address' then pg_catalog.format('bi.show_address(%s)', f.value)
                    when f.type = 'connection' then pg_catalog.format('bi.show_connection(%s)', f.value)
                    when f.type in ('signature', 'email', 'link', 'phone', 'file', 'image') then pg_catalog.format(
                        'bi.show_part(%s, %L)',
                        f.value,
                        case f.type
                            when 'signature' then 'base30'
                            when 'email' then 'email'
                            when 'phone' then 'full'
                            else 'url'
                        end
                    )
                    else pg_catalog.format('bi.show_text(%s)', f.value)
                end as as_text
            from field f
        ),
        planned as (
            select 0::bigint as position, 0 as rank, 'id' as field, '' as facet, '' as key, 'id' as label, 'id' as type,
                'text' as sql_type, 'r.record_id' as value, 'r.record_id' as shown, 'The record''s id' as about
            union all
            select t.position, 0, t.key, '', t.key, t.name, t.type, t.sql_type,
                case
                    when t.type = 'date_time' then pg_catalog.format('bi.read_time(%s, %L)', t.value, zone)
                    when t.type = 'equation' and t.sql_type = 'numeric'
                        then pg_catalog.format('bi.read_number(%s, %s)', t.shown, t.raw)
                    else bi.cast_text(t.sql_type, t.as_text)
                end,
                t.as_text,
                pg_catalog.format('%s, field %s (%s)', t.label, t.key, t.type)
            from typed t
            union all
            select t.position, p.rank, t.key, p.facet, t.key, t.name, t.type, 'numeric',
                pg_catalog.format('bi.to_numeric((%s) ->> %L)', t.value, p.facet),
                pg_catalog.format('(%s) ->> %L', t.value, p.facet),
                pg_catalog.format('%s of %s, field %s (%s), in degrees', initcap(p.facet), t.label, t.key, t.type)
            from typed t, (values (1, 'latitude'), (2, 'longitude')) as p (rank, facet)
            where t.type = 'address'
                and (t.format ->> 'enable_geocoding' = 'true' or t.format ->> 'input' = 'lat_long')
        )
        select coalesce(jsonb_agg(to_jsonb(p) - 'position' - 'rank' order by p.position, p.rank), '[]')
        from planned p
    );
end;
$$;
comment on function bi.plan_knack(jsonb, text) is 'The columns of a Knack object''s or view''s view.';

create function bi.odk_fields(metadata jsonb)
returns table (number bigint, path text[], own_path text[], type text, is_many boolean, is_file boolean, within text[])
language sql
stable
as $$
    with feed as (
        select f.position, f.value, string_to_array(btrim(f.value ->> 'path', '/'), '/') as path
        from jsonb_array_elements(bi.list_items(metadata -> 'fields')) with ordinality as f (value, position)
    ),
    -- The same fields, in the same order, with the names that the form gives them.
    own as (
        select f.position, string_to_array(btrim(f.value ->> 'path', '/'), '/') as path
        from jsonb_array_elements(bi.list_items(metadata -> 'plain_fields')) with ordinality as f (value, position)
        where jsonb_array_length(bi.list_items(metadata -> 'plain_fields'))
            = jsonb_array_length(bi.list_items(metadata -> 'fields'))
    ),
    -- Fields whose names the feed makes one have one value there, and one column.
    merged as (
        select distinct on (f.path)
            f.position,
            f.path,
            coalesce(o.path, f.path) as own_path,
            coalesce(f.value ->> 'type', 'string') as type,
            coalesce(f.value ->> 'selectMultiple' = 'true', false) as is_many,
            coalesce(f.value ->> 'binary' = 'true', false) as is_file
        from feed f
        left join own o using (position)
        order by f.path, f.position
    )
    select
        m.position,
        m.path,
        m.own_path,
        m.type,
        m.is_many,
        m.is_file,
        coalesce(
            (
                select r.path
                from merged r
                where r.type = 'repeat'
                    and cardinality(r.path) < cardinality(m.path)
                    and m.path[1:cardinality(r.path)] = r.path
                order by cardinality(r.path) desc
                limit 1
            ),
            '{}'
        )
    from merged m
    order by m.position
$$;
comment on function bi.odk_fields(jsonb) is
    'The fields of an ODK form in form order: path in the feed, path with the form''s own names, type, the repeat that holds it.';

create function bi.odk_levels(metadata jsonb, repeat text[])
returns table (level bigint, path text[], title text)
language sql
stable
as $$
    -- The repeats on the way to one, and the names to walk from each to the next.
    select
        row_number() over (order by r.depth),
        r.path[coalesce(lag(r.depth) over (order by r.depth), 0) + 1:],
        array_to_string(r.path[coalesce(lag(r.depth) over (order by r.depth), 0) + 1:], '/')
    from (select f.path, cardinality(f.path) as depth from bi.odk_fields(metadata) f where f.type = 'repeat') r
    where r.path = odk_levels.repeat[1:r.depth]
$$;
comment on function bi.odk_levels(jsonb, text[]) is 'The repeats on the way to a repeat, the outermost first, it included.';

create function bi.join_repeat(metadata jsonb, repeat text[])
returns text
language sql
stable
as $$
    select coalesce(
        string_agg(
            pg_catalog.format(
                'cross join lateral jsonb_array_elements(bi.list_items(%s #> %L)) '
                'with ordinality as e%s (item, position)',
                case when l.level = 1 then 'r.record' else pg_catalog.format('e%s.item', l.level - 1) end,
                l.path,
                l.level
            ),
            ' ' order by l.level
        ),
        ''
    )
    from bi.odk_levels(metadata, join_repeat.repeat) l
$$;
comment on function bi.join_repeat(jsonb, text[]) is
    'SQL that joins a document r.record with the instances of a repeat: e1.item of the outermost, e2.item ...';

create function bi.odk_keys(metadata jsonb, repeat text[])
returns table (number bigint, field text, sql_type text, value text, about text)
language sql
stable
as $$
    with level as (
        select
            l.level,
            pg_catalog.format(' || %L || e%s.position || '']''', '/' || l.title || '[', l.level) as place
        from bi.odk_levels(metadata, odk_keys.repeat) l
    ),
    place as (
        select
            max(l.level) as depth,
            coalesce(string_agg(l.place, '' order by l.level), '') as here,
            coalesce(
                string_agg(l.place, '' order by l.level) filter (where l.level < (select max(m.level) from level m)), ''
            ) as outside
        from level l
    )
    select k.position, k.field, k.sql_type, k.value, k.about
    from place p,
        lateral (
            values
                (
                    1,
                    'id',
                    'text',
                    'r.record_id' || p.here,
                    'The submission''s key' || case
                        when p.depth > 0
                            then ' and the place in it (an edit that takes out the first gives its id to the second)'
                        else ''
                    end
                ),
                (2, 'submission_id', 'text', 'r.record_id', 'id of the submission, in the main view'),
                (
                    3,
                    'parent_id',
                    'text',
                    'r.record_id' || p.outside,
                    'id of the row it stands in: the submission, or a row of the outer repeat'
                ),
                (4, 'position', 'bigint', pg_catalog.format('e%s.position', p.depth), 'Its number there, from 1')
        ) as k (position, field, sql_type, value, about)
    where k.position = 1 or p.depth > 0
$$;
comment on function bi.odk_keys(jsonb, text[]) is 'The columns that say which row of a form''s or a repeat''s view it is.';

create function bi.odk_system()
returns table (number bigint, name text, label text, sql_type text, as_text text)
language sql
immutable
as $$
    select
        s.position,
        s.name,
        'system_' || lower(regexp_replace(s.name, '([A-Z])', '_\1', 'g')),
        case
            when s.name in ('submissionDate', 'updatedAt') then 'timestamp with time zone'
            when s.name in ('attachmentsPresent', 'attachmentsExpected', 'edits') then 'bigint'
            else 'text'
        end,
        pg_catalog.format('bi.show_value(r.record #> %L)', array['__system', s.name])
    -- Not deletedAt: the views show what is not deleted.
    from unnest(
        array[
            'submissionDate', 'updatedAt', 'submitterId', 'submitterName', 'attachmentsPresent',
            'attachmentsExpected', 'status', 'reviewState', 'deviceId', 'edits', 'formVersion'
        ]
    ) with ordinality as s (name, position)
$$;
comment on function bi.odk_system() is 'The columns of what Central says of a submission.';

create function bi.select_repeat(metadata jsonb, repeat text[])
returns text
language sql
stable
as $$
    select case
        when count(*) = 1 then pg_catalog.format('bi.show_repeat(r.record #> %L)', select_repeat.repeat)
        else pg_catalog.format(
            '(select bi.show_repeat(jsonb_agg(e%s.item order by %s)) from (select) o %s)',
            count(*),
            string_agg(pg_catalog.format('e%s.position', l.level), ', ' order by l.level),
            bi.join_repeat(metadata, select_repeat.repeat)
        )
    end
    from bi.odk_levels(metadata, select_repeat.repeat) l
$$;
comment on function bi.select_repeat(jsonb, text[]) is
    'SQL that gives all instances of a repeat in a document r.record as one JSON array.';

create function bi.plan_odk(metadata jsonb, app_id text, container_id text, part text, repeat text[])
returns jsonb
language sql
stable
as $$
    with field as (
        select
            f.*,
            case
                when cardinality(plan_odk.repeat) = 0 then 'r.record'
                else pg_catalog.format('e%s.item', (select count(*) from bi.odk_levels(metadata, plan_odk.repeat)))
            end as item,
            f.path[cardinality(plan_odk.repeat) + 1:] as inner_path,
            '/' || array_to_string(f.path, '/') as field,
            bi.fold_name(array_to_string(f.own_path[cardinality(plan_odk.repeat) + 1:], '_')) as label,
            array_to_string(f.own_path[cardinality(plan_odk.repeat) + 1:], '__') as key,
            '/' || array_to_string(f.own_path, '/') as title
        from bi.odk_fields(metadata) f
    ),
    typed as (
        select
            f.*,
            case when f.label = 'id' then '_id' else f.label end as name,
            pg_catalog.format('bi.show_value(%s #> %L)', f.item, f.inner_path) as as_text,
            case f.type
                when 'int' then 'bigint'
                when 'decimal' then 'numeric'
                when 'boolean' then 'boolean'
                when 'date' then 'date'
                when 'time' then 'time without time zone'
                when 'dateTime' then 'timestamp with time zone'
                when 'geopoint' then 'jsonb'
                when 'geotrace' then 'jsonb'
                when 'geoshape' then 'jsonb'
                else 'text'
            end as sql_type,
            pg_catalog.format('Field %s (%s)', f.title, f.type) as about
        from field f
        where f.type not in ('structure', 'repeat') and f.within = plan_odk.repeat
    ),
    file as (
        select
            t.*,
            pg_catalog.format(
                '(select a.key from api.odk_attachments a where a.app_id = %L and a.container_id = %L '
                'and a.record_id = r.record_id and a.name = %s and a.state = ''stored'' and a.key is not null limit 1)',
                plan_odk.app_id,
                plan_odk.container_id,
                t.as_text
            ) as file_key
        from typed t
        where t.is_file and plan_odk.part <> 'main'
    ),
    planned as (
        select 1 as step, k.number as position, 0 as rank, k.field, '' as facet, '' as key, k.field as label,
            'key' as type, k.sql_type, k.value, k.value || '::text' as shown, k.about
        from bi.odk_keys(metadata, plan_odk.repeat) k
        union all
        select 2, t.number, 0, t.field, '', t.key, t.name, t.type, t.sql_type,
            case
                when t.sql_type = 'jsonb'
                    then pg_catalog.format('bi.show_place(%s #> %L, %L)', t.item, t.inner_path, t.type)
                when t.is_many then pg_catalog.format('bi.show_choices(%s)', t.as_text)
                else bi.cast_text(t.sql_type, t.as_text)
            end,
            case when t.is_many then pg_catalog.format('bi.show_choices(%s)', t.as_text) else t.as_text end,
            t.about
        from typed t
        union all
        select 2, t.number, p.rank, t.field, p.facet, t.key, t.name, t.type, 'numeric',
            pg_catalog.format('bi.to_numeric(%s #>> %L)', t.item, t.inner_path || p.path),
            pg_catalog.format('%s #>> %L', t.item, t.inner_path || p.path),
            pg_catalog.format('%s of %s', p.about, lower(left(t.about, 1)) || substr(t.about, 2))
        from typed t,
            (
                values
                    (1, 'latitude', '{coordinates,1}'::text[], 'Latitude, in degrees,'),
                    (2, 'longitude', '{coordinates,0}', 'Longitude, in degrees,'),
                    (3, 'altitude', '{coordinates,2}', 'Altitude, in metres,'),
                    (4, 'accuracy', '{properties,accuracy}', 'Accuracy, in metres,')
            ) as p (rank, facet, path, about)
        where t.type = 'geopoint'
        union all
        select 2, f.number, 5, f.field, 'key', f.key, f.name, f.type, 'text', f.file_key, f.file_key,
            pg_catalog.format('The file''s key in the bucket, of %s', lower(left(f.about, 1)) || substr(f.about, 2))
        from file f
        union all
        select 3, s.number, 0, '__system/' || s.name, '', '', s.label, 'system', s.sql_type,
            bi.cast_text(s.sql_type, s.as_text), s.as_text, pg_catalog.format('Central''s %s', s.name)
        from bi.odk_system() s
        where cardinality(plan_odk.repeat) = 0
        union all
        select 4, f.number, 0, f.field, '', f.key, f.label, 'repeat', 'jsonb',
            bi.select_repeat(metadata, f.path), 'null::text',
            pg_catalog.format('Repeat %s, a JSON array of its instances', f.title)
        from field f
        where f.type = 'repeat' and plan_odk.part = 'unified'
        union all
        select 5, 0, 0, 'media', '', 'media', 'media', 'media', 'jsonb',
            pg_catalog.format(
                '(select coalesce(jsonb_agg(jsonb_build_object(''field'', a.field_path, ''name'', a.name, '
                '''key'', a.key, ''thumbnail_key'', a.thumbnail_key, ''content_type'', a.content_type, '
                '''size_bytes'', a.size_bytes) order by a.field_path, a.name), ''[]'') '
                'from api.odk_attachments a where a.app_id = %L and a.container_id = %L '
                'and a.record_id = r.record_id and a.state = ''stored'' and a.key is not null)',
                plan_odk.app_id,
                plan_odk.container_id
            ),
            'null::text',
            'All stored files of the submission, those of repeats too: field, name, key in the bucket'
        where plan_odk.part = 'unified'
    )
    select coalesce(jsonb_agg(to_jsonb(p) - 'step' - 'position' - 'rank' order by p.step, p.position, p.rank), '[]')
    from planned p
$$;
comment on function bi.plan_odk(jsonb, text, text, text, text[]) is
    'The columns of a form''s main or unified view, or of one repeat''s.';

-- -- building the views ---------------------------------------------------------------------------------------

create function bi.read_note(comment text)
returns jsonb
language plpgsql
immutable
strict
as $$
begin
    return substring(comment from '\n(\{.*\})$')::jsonb;
exception
    when others then
        -- Somebody's own comment.
        return null;
end;
$$;
comment on function bi.read_note(text) is
    'What the comment of a view or column says in its last line, as JSON; null if it says nothing. The comments are what api.refresh_views goes by.';

create function bi.list_views(source text, app_id text, container_id text)
returns table (view oid, name text, part text, digest text)
language sql
stable
as $$
    select c.oid, c.relname::text, n.note ->> 'part', n.note ->> 'digest'
    from pg_class c, lateral bi.read_note(obj_description(c.oid, 'pg_class')) as n (note)
    where c.relnamespace = 'bi'::regnamespace
        and c.relkind = 'v'
        and n.note ->> 'source' = list_views.source
        and n.note ->> 'app' = list_views.app_id
        and n.note ->> 'container' = list_views.container_id
$$;
comment on function bi.list_views(text, text, text) is 'The views of a container that there are.';

create function bi.merge_columns(view oid, columns jsonb)
returns jsonb
language plpgsql
stable
as $$
declare
    merged jsonb;
    notices text[] := '{}';
    added text[] := '{}';
    taken text[];
    wanted text;
    plan record;
begin
    if view is null then
        return jsonb_build_object('columns', columns, 'notices', '[]'::jsonb, 'added', '[]'::jsonb);
    end if;
    -- What there is keeps its name, its type and its place; it shows its field, or one of its name if that is gone.
    with old as (
        select
            a.attnum as position,
            a.attname::text as name,
            format_type(a.atttypid, a.atttypmod) as sql_type,
            coalesce(bi.read_note(col_description(a.attrelid, a.attnum)), '{}') as note
        from pg_attribute a
        where a.attrelid = merge_columns.view and a.attnum > 0 and not a.attisdropped
    ),
    new as (
        select n.value, n.position
        from jsonb_array_elements(columns) with ordinality as n (value, position)
    ),
    paired as (
        select o.*, coalesce(same.value, heir.value) as plan, same.value is null and heir.value is not null as is_heir
        from old o
        left join new same
            on same.value ->> 'field' = o.note ->> 'field' and same.value ->> 'facet' = o.note ->> 'facet'
        left join new heir
            on same.value is null
            and heir.value ->> 'name' = o.name
            and not exists (
                select
                from old other
                where other.note ->> 'field' = heir.value ->> 'field'
                    and other.note ->> 'facet' = heir.value ->> 'facet'
            )
    )
    select
        jsonb_agg(
            case
                when p.plan is null then p.note || jsonb_build_object(
                    'name', p.name,
                    'sql_type', p.sql_type,
                    'value', format('null::%s', p.sql_type),
                    'about', coalesce(p.note ->> 'field', 'A field') || ', which is no more',
                    'gone', true
                )
                else p.plan || jsonb_build_object(
                    'name', p.name,
                    'sql_type', p.sql_type,
                    'value', case
                        when p.plan ->> 'sql_type' = p.sql_type then p.plan ->> 'value'
                        else bi.cast_text(p.sql_type, p.plan ->> 'shown')
                    end,
                    -- A column keeps the name that its field had.
                    'label', case when p.is_heir then p.plan ->> 'label' else p.note ->> 'label' end,
                    'about', (p.plan ->> 'about') || case
                        when p.plan ->> 'sql_type' = p.sql_type then ''
                        else format(', as far as it is %s', p.sql_type)
                    end
                )
            end
            order by p.position
        ),
        array_agg(p.name),
        coalesce(
            array_agg(
                case
                    when p.is_heir then format(
                        '%s: the field %s is gone; the column shows %s now',
                        p.name, coalesce(p.note ->> 'field', 'of it'), p.plan ->> 'field'
                    )
                    when p.plan is null then format(
                        '%s: the field %s is gone; the column stays, and is null',
                        p.name, coalesce(p.note ->> 'field', 'of it')
                    )
                    else format(
                        '%s: the field %s was %s and is %s now%s',
                        p.name, p.note ->> 'field', p.note ->> 'type', p.plan ->> 'type',
                        case
                            when p.plan ->> 'sql_type' <> p.sql_type
                                then format('; this column shows what of it is %s', p.sql_type)
                            else ''
                        end
                    )
                end
                order by p.position
            ) filter (
                where p.is_heir
                    or p.plan is null and p.note ->> 'gone' is null
                    or p.plan is not null and p.plan ->> 'type' <> p.note ->> 'type'
            ),
            '{}'
        )
    into merged, taken, notices
    from paired p;
    -- What is new comes behind: a new field, one that has got another type, one that is called otherwise now.
    for plan in
        select n.value, same.name as old_name, same.has_type
        from jsonb_array_elements(columns) with ordinality as n (value, position)
        left join lateral (
            select
                min(m.value ->> 'name') as name,
                coalesce(bool_or(m.value ->> 'sql_type' = n.value ->> 'sql_type'), false) as has_type,
                coalesce(
                    bool_or(
                        m.value ->> 'sql_type' = n.value ->> 'sql_type' and m.value ->> 'label' = n.value ->> 'label'
                    ),
                    false
                ) as is_there
            from jsonb_array_elements(merged) m
            where m.value ->> 'field' = n.value ->> 'field' and m.value ->> 'facet' = n.value ->> 'facet'
        ) same on true
        where not same.is_there
        order by n.position
    loop
        wanted := plan.value ->> 'name';
        if plan.old_name is not null and not plan.has_type then
            wanted := plan.old_name || '_' || case plan.value ->> 'sql_type'
                when 'timestamp with time zone' then 'timestamptz'
                when 'time without time zone' then 'time'
                else plan.value ->> 'sql_type'
            end;
        elsif plan.old_name is not null then
            notices := notices || format(
                '%s: the field %s is called %s now; the column stays beside the new one',
                plan.old_name, plan.value ->> 'field', plan.value ->> 'label'
            );
        end if;
        while bi.shorten_name(wanted) = any (taken) loop
            wanted := wanted || '_' || coalesce(nullif(plan.value ->> 'key', ''), 'new');
        end loop;
        wanted := bi.shorten_name(wanted);
        taken := taken || wanted;
        added := added || wanted;
        merged := merged || jsonb_build_array(plan.value || jsonb_build_object('name', wanted));
    end loop;
    return jsonb_build_object('columns', merged, 'notices', to_jsonb(notices), 'added', to_jsonb(added));
end;
$$;
comment on function bi.merge_columns(oid, jsonb) is
    'Planned columns fitted to a view that there is: its columns stay as they are, others come behind; and what is to be said of it.';

create function bi.build_view(
    source text, app_id text, container_id text, part text, bases text[], about text, from_sql text, columns jsonb
)
returns jsonb
language plpgsql
as $$
declare
    -- PostgreSQL's own limit is 1664.
    most constant integer := 1600;
    old record;
    view_name text;
    merged jsonb;
    statement text;
    comments text;
    note jsonb;
    notices jsonb;
    left_out integer;
begin
    select v.*
    into old
    from bi.list_views(build_view.source, build_view.app_id, build_view.container_id) v
    where v.part = build_view.part
    order by v.view
    limit 1;
    view_name := coalesce(
        old.name,
        bi.name_view(
            bases,
            concat_ws('|', build_view.source, build_view.app_id, build_view.container_id, build_view.part)
        )
    );
    merged := bi.merge_columns(old.view, bi.name_columns(columns));
    notices := merged -> 'notices';
    left_out := jsonb_array_length(merged -> 'columns') - most;
    if left_out > 0 then
        notices := notices || to_jsonb(
            format('%s columns are left out: a view has at most %s', left_out, most)
        );
    end if;
    select
        format(
            -- A barrier again: else grouping and sorting carry whole documents about.
            'create or replace view bi.%I with (security_barrier) as '
            'select %s %s and r.app_id = %L and r.container_id = %L',
            view_name,
            string_agg(format('%s as %I', c.value ->> 'value', c.value ->> 'name'), ', ' order by c.position),
            from_sql,
            build_view.app_id,
            build_view.container_id
        ),
        string_agg(
            format(
                'comment on column bi.%I.%I is %L',
                view_name,
                c.value ->> 'name',
                format('%s; %s', c.value ->> 'about', build_view.about) || E'\n'
                    || (c.value - 'name' - 'key' - 'value' - 'shown' - 'about' - 'sql_type')::text
            ),
            '; ' order by c.position
        )
    into statement, comments
    from jsonb_array_elements(merged -> 'columns') with ordinality as c (value, position)
    where c.position <= most;
    note := jsonb_build_object(
        'source', build_view.source,
        'app', build_view.app_id,
        'container', build_view.container_id,
        'part', build_view.part,
        'digest', md5(statement || comments || about)
    );
    -- Building takes a lock that waits for every dashboard's query: not without need.
    if old.digest is distinct from note ->> 'digest' then
        execute statement;
        execute format('comment on view bi.%I is %L', view_name, about || E'\n' || note::text);
        execute comments;
    end if;
    return jsonb_build_object(
        'name', view_name,
        'part', build_view.part,
        'state', case
            when old.name is null then 'created'
            when old.digest is distinct from note ->> 'digest' then 'changed'
            else 'unchanged'
        end,
        'columns', jsonb_array_length(merged -> 'columns'),
        'added', merged -> 'added',
        'notices', case when old.digest = note ->> 'digest' then '[]' else notices end
    );
end;
$$;
comment on function bi.build_view(text, text, text, text, text[], text, text, jsonb) is
    'Makes a view, or changes it where its definition is another one now; says what it did.';

create function api.refresh_views(source text, app_id text, container_id text)
returns json
language plpgsql
-- With the owner's rights: loaders have none in bi, and only what the stored metadata say is built.
security definer
set search_path = pg_catalog, pg_temp
-- A dashboard's long query must not make all the others wait behind us.
set lock_timeout = '20s'
as $$
declare
    metadata jsonb;
    title text;
    about text;
    base text;
    bases text[];
    from_sql text := format('from api.%I r where true', refresh_views.source || '_living');
    plan jsonb;
    views jsonb := '[]';
    repeat record;
    gone text[];
begin
    perform pg_advisory_xact_lock(82719);
    if refresh_views.source = 'knack' then
        select bi.read_record(m.metadata) into metadata from api.knack_metadata m where m.app_id = refresh_views.app_id;
    elsif refresh_views.source = 'odk' then
        select bi.read_record(m.metadata)
        into metadata
        from api.odk_metadata m
        where m.app_id = refresh_views.app_id and m.container_id = refresh_views.container_id;
    else
        raise exception 'no such source: %', refresh_views.source using errcode = 'PT400';
    end if;
    if metadata is null then
        raise exception 'there are no metadata of %', refresh_views.container_id using errcode = 'PT404';
    end if;
    if refresh_views.source = 'knack' then
        select f.value ->> 'name'
        into title
        from (
            select o.value
            from jsonb_array_elements(bi.list_items(metadata #> '{application,objects}')) o
            union all
            select v.value
            from jsonb_array_elements(bi.list_items(metadata #> '{application,scenes}')) s,
                jsonb_array_elements(bi.list_items(s.value -> 'views')) v
        ) f
        where f.value ->> 'key' = refresh_views.container_id
        limit 1;
        plan := bi.plan_knack(metadata, refresh_views.container_id);
        about := format(
            'Knack %s (%s), app %s', refresh_views.container_id, coalesce(title, ''), refresh_views.app_id
        );
        base := bi.fold_view_name(coalesce(nullif(title, ''), refresh_views.container_id));
        base := coalesce(nullif(base, ''), refresh_views.container_id);
        bases := array[
            base,
            base || '_' || bi.fold_view_name(refresh_views.container_id),
            concat_ws(
                '_',
                base,
                bi.fold_view_name(refresh_views.container_id),
                bi.fold_view_name(coalesce(metadata #>> '{application,slug}', refresh_views.app_id))
            )
        ];
    else
        title := metadata #>> '{form,name}';
        plan := bi.plan_odk(metadata, refresh_views.app_id, refresh_views.container_id, 'main', '{}');
        about := format(
            'ODK form %s (%s), app %s', refresh_views.container_id, coalesce(title, ''), refresh_views.app_id
        );
        base := coalesce(nullif(bi.fold_view_name(refresh_views.container_id), ''), 'form');
        bases := array[base, base || '_' || bi.fold_view_name(refresh_views.app_id)];
    end if;
    -- A view of keys alone would make null of all that is shown now.
    if
        not exists (select from bi.knack_fields(metadata, refresh_views.container_id))
        and not exists (select from bi.odk_fields(metadata))
    then
        raise exception 'the metadata name no field of %', refresh_views.container_id using errcode = 'PT404';
    end if;
    views := views || bi.build_view(
        refresh_views.source, refresh_views.app_id, refresh_views.container_id, 'main', bases, about, from_sql, plan
    );
    if refresh_views.source = 'odk' then
        -- The other views are called after the main one.
        base := views #>> '{0,name}';
        for repeat in
            select
                f.path,
                array_to_string(f.own_path, '_') as name,
                'repeat:' || array_to_string(f.path, '/') as part,
                (select count(*) from bi.odk_levels(metadata, f.path)) as depth
            from bi.odk_fields(metadata) f
            where f.type = 'repeat'
            order by f.number
        loop
            views := views || bi.build_view(
                refresh_views.source,
                refresh_views.app_id,
                refresh_views.container_id,
                repeat.part,
                array[base || '_' || bi.fold_view_name(repeat.name)],
                format('repeat %s of %s', array_to_string(repeat.path, '/'), about),
                format(
                    'from api.odk_living r %s where jsonb_typeof(e%s.item) = ''object''',
                    bi.join_repeat(metadata, repeat.path),
                    repeat.depth
                ),
                bi.plan_odk(
                    metadata, refresh_views.app_id, refresh_views.container_id, repeat.part, repeat.path
                )
            );
        end loop;
        views := views || bi.build_view(
            refresh_views.source,
            refresh_views.app_id,
            refresh_views.container_id,
            'unified',
            array[base || '_unified'],
            format('%s, with its repeats and media', about),
            from_sql,
            bi.plan_odk(metadata, refresh_views.app_id, refresh_views.container_id, 'unified', '{}')
        );
    end if;
    select coalesce(array_agg(v.name order by v.name), '{}')
    into gone
    from bi.list_views(refresh_views.source, refresh_views.app_id, refresh_views.container_id) v
    where not exists (select from jsonb_array_elements(views) b where b.value ->> 'name' = v.name);
    return json_build_object('views', views, 'left', gone);
end;
$$;
comment on function api.refresh_views(text, text, text) is
    'Builds the views of a container in schema bi from the stored metadata, or lets them follow new metadata: columns are only added. Says what it did: {"views": [{"name", "part", "state": created, changed or unchanged, "columns", "added", "notices"}], "left": views of repeats that the form no more has}.';
