-- The key-value store of each app. Scripts write it only in the transaction that ends their run.

-- Versions come from one sequence, so a key that was deleted and made again never looks unchanged; 0 means absent.
create sequence kv_versions;

create table kv_entries (
    app_id      integer not null references apps (id) on delete cascade,
    collection  text not null collate "C",
    key         text not null collate "C",
    value       bytea not null,                   -- JSON
    version     bigint not null,
    expires_at  timestamptz,                      -- past: absent to everybody, and still this version until it is swept
    updated_at  timestamptz not null default now(),
    primary key (app_id, collection, key)
) with (fillfactor = 80, autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0);
-- serves: the sweep of keys whose time has passed
create index kv_entries_expiring on kv_entries (expires_at) where expires_at is not null;

-- What each app keeps, as changes that are added up: one row an app would make every writer wait for the one before it.
create table kv_usage (
    app_id  integer not null references apps (id) on delete cascade,
    keys    bigint not null,
    bytes   bigint not null                       -- of keys and values
) with (
    -- A row for every write until they are added up: what was is vacuumed by count, or every sum would read over it.
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_cost_delay = 0
);
-- serves: what an app keeps
create index kv_usage_by_app on kv_usage (app_id);

-- What a run read (version 0: absent) and what it leaves.
create type kv_read as (run uuid, app_id integer, collection text, key text, version bigint);
create type kv_write as (
    run uuid,                                     -- null: an API call
    app_id integer, collection text, key text,
    first_byte integer, value_bytes integer,      -- a slice of the data beside it; null: the key is deleted
    ttl_ms bigint, expires_at timestamptz         -- neither: for ever
);
-- One write with what was there before it.
create type kv_step as (
    run uuid, app_id integer, collection text, key text, value bytea, old_value bytea, expires_at timestamptz, version bigint,
    is_last boolean, stored_bytes integer
);

-- The name under which a key, present or absent, is locked: rows cannot be locked before they exist.
create function kv_lock_name(p_app integer, p_collection text, p_key text) returns bigint language sql immutable as $$
    select hashtextextended(p_collection || E'\x1f' || p_key, p_app)
$$;

-- Locks every key that is read or written until the transaction ends, in one order for everybody.
create function kv_lock(p_reads kv_read[], p_writes kv_write[]) returns void
language plpgsql set plan_cache_mode = force_generic_plan set jit = off as $$
begin
    perform pg_advisory_xact_lock(names.name)
    from (select kv_lock_name(r.app_id, r.collection, r.key) as name from unnest(p_reads) r
          union
          select kv_lock_name(w.app_id, w.collection, w.key) from unnest(p_writes) w
          order by 1) names;
end
$$;

-- Applies writes, in order, whose keys are locked: the entries, what the app keeps, and the rows of the triggers they
-- fire. Every write fires, also one that another write of the same call overtakes. Runs must still be in the outbox.
-- Returns how many rows were written.
create function kv_apply(p_writes kv_write[], p_data bytea) returns integer
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_steps kv_step[];
    v_rows new_row[];
begin
    with writes as (
        select w.*, nextval('kv_versions') as version,
               case when w.value_bytes is not null then substring(p_data from w.first_byte for w.value_bytes) end as value
        from unnest(p_writes) with ordinality w
    ), seen as (
        select w.*, e.bytes as stored_bytes,
               case when row_number() over k = 1 then e.value else lag(w.value) over k end as old_value,
               lead(w.ordinality) over k is null as is_last
        from writes w
        left join lateral (
            select case when e.expires_at is null or e.expires_at > now() then e.value end as value,
                   octet_length(e.key) + octet_length(e.value) as bytes
            from kv_entries e where e.app_id = w.app_id and e.collection = w.collection and e.key = w.key limit 1) e on true
        window k as (partition by w.app_id, w.collection, w.key order by w.ordinality)
    )
    select array_agg(row(s.run, s.app_id, s.collection, s.key, s.value, s.old_value,
                         coalesce(s.expires_at, now() + s.ttl_ms * interval '1 ms'), s.version, s.is_last,
                         s.stored_bytes)::kv_step order by s.ordinality)
    into v_steps from seen s;

    delete from kv_entries e
    using (select found.row_at from unnest(v_steps) s
           cross join lateral (
               select e.ctid as row_at from kv_entries e
               where e.app_id = s.app_id and e.collection = s.collection and e.key = s.key limit 1) found
           where s.is_last and s.value is null) gone
    where e.ctid = gone.row_at;

    insert into kv_entries (app_id, collection, key, value, version, expires_at)
    select s.app_id, s.collection, s.key, s.value, s.version, s.expires_at
    from unnest(v_steps) s where s.is_last and s.value is not null
    on conflict (app_id, collection, key)
    do update set value = excluded.value, version = excluded.version, expires_at = excluded.expires_at, updated_at = now();

    insert into kv_usage (app_id, keys, bytes)
    select s.app_id,
           sum(case when s.value is null then 0 else 1 end - case when s.stored_bytes is null then 0 else 1 end),
           sum(coalesce(octet_length(s.key) + octet_length(s.value), 0) - coalesce(s.stored_bytes, 0))
    from unnest(v_steps) s where s.is_last
    group by s.app_id
    having sum(case when s.value is null then 0 else 1 end - case when s.stored_bytes is null then 0 else 1 end) <> 0
        or sum(coalesce(octet_length(s.key) + octet_length(s.value), 0) - coalesce(s.stored_bytes, 0)) <> 0;

    if not exists (select from kv_triggers k where k.app_id in (select s.app_id from unnest(v_steps) s)) then
        return 0;
    end if;
    with steps as (
        select s.*, case when s.old_value is null then 'insert' when s.value is null then 'delete' else 'update' end as op
        from unnest(v_steps) with ordinality s
        where s.value is not null or s.old_value is not null
    )
    select array_agg(row_of_trigger(t.whole, caused_id(coalesce(s.run, gen_random_uuid()), s.version || '/' || k.trigger_id),
                                    open_object(json_build_object('op', s.op, 'collection', s.collection, 'key', s.key, 'version', s.version))
                                        || ',"value":' || coalesce(s.value, 'null') || ',"old_value":' || coalesce(s.old_value, 'null') || '}',
                                    null, o.root_execution_id, s.run, (coalesce(o.trigger_depth + 1, 0))::smallint, o.traceparent)
                     order by s.ordinality, k.trigger_id)
    into v_rows
    from steps s
    join lateral (
        select * from kv_triggers k
        where k.app_id = s.app_id and s.op = any(k.ops) and glob_matches(k.is_prefix, k.collection, s.collection)) k on true
    join lateral (select t as whole from triggers t where t.id = k.trigger_id and t.is_enabled limit 1) t on true
    left join lateral (select root_execution_id, trigger_depth, traceparent from outbox o where o.id = s.run limit 1) o on true;
    return case when v_rows is null then 0 else write_rows(v_rows) end;
end
$$;

-- One write by the API, under the same lock and firing the same triggers as a script's. p_if_version: the version that
-- must be there; 0: the key must be absent; -1: it must be there; null: whatever is there. Otherwise nothing is written.
-- old_version and version: before and after; 0: absent.
create function kv_write_v1(p_write kv_write, p_data bytea, p_if_version bigint)
returns table (is_written boolean, old_version bigint, version bigint, fired integer) language plpgsql as $$
#variable_conflict use_column
declare
    v_old bigint;
    v_fired integer;
begin
    perform kv_lock('{}', array[p_write]);
    -- In a statement of its own: it sees what was committed before the lock was granted.
    v_old := coalesce((select e.version from kv_entries e
                       where e.app_id = p_write.app_id and e.collection = p_write.collection and e.key = p_write.key
                         and (e.expires_at is null or e.expires_at > now())), 0);
    if p_if_version = -1 and v_old = 0 or p_if_version >= 0 and p_if_version <> v_old then
        return query select false, v_old, v_old, 0;
        return;
    end if;
    v_fired := kv_apply(array[p_write], p_data);
    return query select true, v_old, coalesce((select e.version from kv_entries e
                                               where e.app_id = p_write.app_id and e.collection = p_write.collection
                                                 and e.key = p_write.key), 0), v_fired;
end
$$;

-- Removes keys whose time has passed, under their locks; a key that was set again meanwhile stays. That a key expires
-- fires no trigger: nobody did it. Apps that somebody is changing are left for the next time: one that is being removed
-- takes its keys along, and waiting for it while holding some of them would be a deadlock.
create function kv_sweep(p_limit integer) returns integer language plpgsql as $$
declare
    v_keys kv_write[];
    v_count integer;
begin
    select array_agg(row(null, e.app_id, e.collection, e.key, null, null, null, null)::kv_write) into v_keys
    from (select e.app_id, e.collection, e.key from kv_entries e join apps a on a.id = e.app_id
          where e.expires_at < now() order by e.expires_at limit p_limit for key share of a skip locked) e;
    if v_keys is null then
        return 0;
    end if;
    perform kv_lock('{}', v_keys);
    with gone as (
        delete from kv_entries e using unnest(v_keys) k
        where e.app_id = k.app_id and e.collection = k.collection and e.key = k.key and e.expires_at < now()
        returning e.app_id, octet_length(e.key) + octet_length(e.value) as bytes
    ), freed as (
        insert into kv_usage (app_id, keys, bytes) select app_id, -count(*), -sum(bytes) from gone group by app_id
    )
    select count(*) into v_count from gone;
    return v_count;
end
$$;

-- Adds up what accumulates in kv_usage; whoever else does it at the same time takes other rows. An app that has one row
-- is left alone, and so is one that somebody is changing (see kv_sweep).
create function kv_compact_usage() returns void language sql as $$
    with taken as materialized (
        select u.ctid as row_at
        from kv_usage u join apps a on a.id = u.app_id
        where u.app_id in (select app_id from kv_usage group by app_id having count(*) > 1)
        for update of u skip locked for key share of a skip locked
    ), gone as (
        delete from kv_usage u using taken where u.ctid = taken.row_at returning u.app_id, u.keys, u.bytes
    )
    insert into kv_usage (app_id, keys, bytes)
    select app_id, sum(keys), sum(bytes) from gone group by app_id having sum(keys) <> 0 or sum(bytes) <> 0
$$;
