-- Triggers: what makes a script run beside a request. One parent table, one detail table a kind, one way to write rows.

create table triggers (
    id                  integer generated always as identity primary key,
    app_id              integer not null references apps (id) on delete cascade,
    name                text not null,
    kind                text not null check (kind in ('kv', 'cron', 'pubsub', 'queue', 'email', 'dead_letter')),
    script_id           integer not null references scripts (id),
    registered_by_principal integer not null references principals (id),   -- its runs act as this principal
    is_enabled          boolean not null default true,
    retry               text not null default '{}',   -- JSON: what the manifest says; the columns below are what holds
    max_attempts        smallint not null,
    backoff             text not null check (backoff in ('exponential', 'linear', 'constant')),
    backoff_base_ms     integer not null,
    backoff_max_ms      integer not null,
    backoff_jitter_pct  smallint not null,
    created_at          timestamptz not null default now(),
    unique (app_id, name)
);
-- serves: "is this script still used by a trigger?"
create index triggers_by_script on triggers (script_id);

-- A glob is kept as what it begins with: `orders:*` is is_prefix with 'orders:', `*` is is_prefix with ''.
create function glob_matches(is_prefix boolean, literal text, name text) returns boolean language sql immutable as $$
    select case when is_prefix then starts_with(name, literal) else name = literal end
$$;

create table kv_triggers (
    trigger_id  integer primary key references triggers (id) on delete cascade,
    app_id      integer not null,
    is_prefix   boolean not null,
    collection  text not null,
    ops         text[] not null check (ops <@ array['insert', 'update', 'delete'] and ops <> '{}')
);
-- serves: which triggers a changed key fires
create index kv_triggers_by_app on kv_triggers (app_id);

create table cron_triggers (
    trigger_id  integer primary key references triggers (id) on delete cascade,
    schedule    text not null,
    timezone    text not null,
    missed      text not null check (missed in ('skip', 'once', 'all')),
    is_on       boolean not null,                 -- the trigger is enabled; here too, for the index
    next_at     timestamptz not null,             -- the first scheduled time that has not fired
    fired_at    timestamptz
);
-- serves: what is due, and when the relay must look again
create index cron_triggers_next on cron_triggers (next_at) where is_on;

create table pubsub_triggers (
    trigger_id  integer primary key references triggers (id) on delete cascade,
    app_id      integer not null,
    is_prefix   boolean not null,
    topic       text not null
);
-- serves: who subscribes to a published message
create index pubsub_triggers_by_app on pubsub_triggers (app_id);

-- A queue is there before its consumer and after it: its messages wait.
create table queues (
    id          integer generated always as identity primary key,
    app_id      integer not null references apps (id) on delete cascade,
    name        text not null,
    created_at  timestamptz not null default now(),
    unique (app_id, name)
);
create table queue_triggers (
    trigger_id  integer primary key references triggers (id) on delete cascade,
    queue_id    integer not null unique references queues (id),       -- one consumer
    concurrency smallint check (concurrency > 0)                      -- null: as many as the workers can
);

create table email_triggers (
    trigger_id  integer primary key references triggers (id) on delete cascade,
    address     text not null unique check (address = lower(address))  -- whose mail it is must be clear to all apps
);

create table dead_letter_triggers (
    trigger_id    integer primary key references triggers (id) on delete cascade,
    app_id        integer not null,
    source        text,
    trigger_name  text,
    script_name   text
);
-- serves: who handles a letter
create index dead_letter_triggers_by_app on dead_letter_triggers (app_id);

-- What fired a row, as people name it: a route or a trigger, by the row's source and trigger_id. A view, not a function: joined,
-- it costs a list two look-ups a row, and a filter on it one pass.
create view trigger_labels as
    select 'http' as source, id, method || ' ' || path as label from routes
    union all
    select kind, id, name from triggers;

-- Who sends to a queue holds it shared until the commit, who gives it another consumer or removes it holds it alone: a message
-- that was sent to the old consumer in that moment would otherwise be seen by nobody. Taken in the order of ids.
create function hold_queue(p_queue integer, p_alone boolean) returns void language plpgsql as $$
begin
    if p_alone then
        perform pg_advisory_xact_lock(7303, p_queue);
    else
        perform pg_advisory_xact_lock_shared(7303, p_queue);
    end if;
end
$$;

-- serves: "was that the last handler of this letter?"
create index outbox_handlers on outbox (dead_letter_id) where dead_letter_id is not null;

-- Writing rows from inside the database --------------------------------------------------------------

-- A row to be, whatever its source.
create type new_row as (
    id uuid, app_id integer, script_id integer, script_version integer, source text, trigger_id integer,
    principal_id integer, event bytea, body bytea, max_attempts smallint, backoff text, backoff_base_ms integer,
    backoff_max_ms integer, backoff_jitter_pct smallint, queue_id integer, lane integer, state smallint, order_key text,
    delay_ms bigint, root_execution_id uuid, parent_execution_id uuid, trigger_depth smallint, dead_letter_id uuid,
    traceparent text
);

-- The id of a row that a run or a change causes: a UUIDv7 of now whose other bits follow from the cause, so that one cause
-- gives one row.
create function caused_id(p_cause uuid, p_salt text) returns uuid language sql stable as $$
    select (lpad(to_hex((extract(epoch from now()) * 1000)::bigint), 12, '0') || '7' || substr(h, 1, 3)
            || substr('89ab', 1 + get_byte(decode(substr(h, 4, 2), 'hex'), 0) % 4, 1) || substr(h, 6, 15))::uuid
    from md5(p_cause::text || p_salt) h
$$;

-- The day an id was made: the partition of its payload.
create function day_of_id(p_id uuid) returns date language sql immutable as $$
    select (timestamp '1970-01-01'
            + (('x' || left(replace(p_id::text, '-', ''), 12))::bit(48)::bigint / 86400000) * interval '1 day')::date
$$;

-- A row that a trigger causes. Without a cause (an API call, a clock) the row is a root of its own.
create function row_of_trigger(
    t triggers, p_id uuid, p_event bytea, p_body bytea, p_root uuid, p_parent uuid, p_depth smallint,
    p_traceparent text default null
) returns new_row language sql immutable as $$
    select row(p_id, t.app_id, t.script_id, null, t.kind, t.id, t.registered_by_principal, p_event, p_body,
               t.max_attempts, t.backoff, t.backoff_base_ms, t.backoff_max_ms, t.backoff_jitter_pct,
               null, 0, 0, null, 0, coalesce(p_root, p_id), p_parent, p_depth, null, p_traceparent)::new_row
$$;

-- Writes payloads and outbox rows in the order given, in the caller's transaction; returns how many.
create function write_rows(p_rows new_row[]) returns integer
language plpgsql set plan_cache_mode = force_generic_plan set jit = off as $$
#variable_conflict use_column
declare
    v_count integer;
begin
    with rows as (
        select r.*, day_of_id(r.id) as day from unnest(p_rows) with ordinality r
    ), stored as (
        insert into payloads (id, day, app_id, event, body)
        select id, day, app_id, event, body from rows
        on conflict (id, day) do nothing
        returning id
    )
    insert into outbox (id, payload_day, state, app_id, script_id, script_version, source, trigger_id, principal_id,
                        max_attempts, backoff, backoff_base_ms, backoff_max_ms, backoff_jitter_pct, order_key, queue_id, lane,
                        root_execution_id, parent_execution_id, trigger_depth, traceparent, is_dead_letter_handler, dead_letter_id,
                        available_at, payload_bytes)
    select r.id, r.day, r.state, r.app_id, r.script_id, r.script_version, r.source, r.trigger_id, r.principal_id,
           r.max_attempts, r.backoff, r.backoff_base_ms, r.backoff_max_ms, r.backoff_jitter_pct, r.order_key, r.queue_id, r.lane,
           r.root_execution_id, r.parent_execution_id, r.trigger_depth, r.traceparent, r.dead_letter_id is not null, r.dead_letter_id,
           now() + coalesce(r.delay_ms, 0) * interval '1 ms',
           octet_length(r.event) + coalesce(octet_length(r.body), 0)
    from rows r join stored using (id)
    order by r.ordinality;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- A JSON object that lacks its end, in UTF-8, so that values that are JSON already can follow as bytes.
create function open_object(p_object json) returns bytea language sql immutable as $$
    select convert_to(rtrim(p_object::text, ' }'), 'UTF8')
$$;

-- RFC 3339, UTC.
create function rfc3339(p_at timestamptz) returns text language sql stable as $$
    select to_char(p_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;

-- What runs and the API send: queued and published messages, mails, invocations.
create type sent as (
    cause uuid,              -- the run that sent it; null: an API call
    id uuid, app_id integer, kind text, name text, script_id integer, principal_id integer,
    first_byte integer, message_bytes integer,       -- JSON, a slice of the data beside it
    delay_ms bigint, order_key text,
    max_attempts smallint, backoff text, base_ms integer, max_ms integer, jitter_pct smallint   -- where no trigger says it
);

-- Writes the rows of what was sent, in order; returns how many. A published message becomes one row a subscription, a
-- queued one waits (state 3) while nobody consumes its queue. Causes must still be in the outbox.
create function send_rows(p_sent sent[], p_data bytea) returns integer
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_rows new_row[];
begin
    -- In statements of their own: the one below sees the consumers that are there once the queues are held. A queue that was
    -- removed while the run went on is made again, for its message must not vanish.
    if exists (select from unnest(p_sent) s where s.kind = 'queue') then
        perform hold_queue(q.id, false) from (
            select distinct q.id from unnest(p_sent) s
            cross join lateral (select q.id from queues q where q.app_id = s.app_id and q.name = s.name limit 1) q
            where s.kind = 'queue'
            order by q.id) q;
        insert into queues (app_id, name)
        select distinct s.app_id, s.name from unnest(p_sent) s
        where s.kind = 'queue' and not exists (select from queues q where q.app_id = s.app_id and q.name = s.name)
        on conflict (app_id, name) do nothing;
    end if;

    with sent as (
        select s.*, substring(p_data from s.first_byte for s.message_bytes) as message,
               o.root_execution_id as root, o.traceparent,
               -- Sending a mail is no hop: it runs no script.
               (coalesce(o.trigger_depth + case when s.kind = 'send_email' then 0 else 1 end, 0))::smallint as depth
        from unnest(p_sent) with ordinality s
        left join lateral (select root_execution_id, trigger_depth, traceparent from outbox o where o.id = s.cause limit 1) o on true
    ), rows as (
        select s.ordinality, (t.whole).id as place,
               row_of_trigger(t.whole, caused_id(s.id, (t.whole).id::text),
                              open_object(json_build_object('topic', s.name, 'published_at', rfc3339(now())))
                                  || ',"message":' || s.message || '}',
                              null, s.root, s.cause, s.depth, s.traceparent) as made
        from sent s
        join lateral (select * from pubsub_triggers p where p.app_id = s.app_id and glob_matches(p.is_prefix, p.topic, s.name)) p on true
        join lateral (select t as whole from triggers t where t.id = p.trigger_id and t.is_enabled limit 1) t on true
        where s.kind = 'publish'
        union all
        select s.ordinality, 0,
               row(s.id, s.app_id, coalesce(t.script_id, 0), null, 'queue', t.id, coalesce(t.registered_by_principal, s.principal_id),
                   open_object(json_build_object('queue', s.name, 'message_id', s.id, 'enqueued_at', rfc3339(now())))
                       || ',"message":' || s.message || '}', null,
                   coalesce(t.max_attempts, s.max_attempts), coalesce(t.backoff, s.backoff),
                   coalesce(t.backoff_base_ms, s.base_ms), coalesce(t.backoff_max_ms, s.max_ms),
                   coalesce(t.backoff_jitter_pct, s.jitter_pct),
                   q.id, case when t.concurrency is null then 0 else q.id end, case when t.id is null then 3 else 0 end,
                   s.order_key, s.delay_ms, coalesce(s.root, s.id), s.cause, s.depth, null, s.traceparent)::new_row
        from sent s
        join lateral (select * from queues q where q.app_id = s.app_id and q.name = s.name limit 1) q on true
        left join lateral (
            select t.*, qt.concurrency from queue_triggers qt join triggers t on t.id = qt.trigger_id
            where qt.queue_id = q.id and t.is_enabled limit 1) t on true
        where s.kind = 'queue'
        union all
        select s.ordinality, 0,
               row(s.id, s.app_id, s.script_id, null, s.kind, null, s.principal_id, s.message, null, s.max_attempts, s.backoff,
                   s.base_ms, s.max_ms, s.jitter_pct, null, 0, 0, null, s.delay_ms, coalesce(s.root, s.id), s.cause, s.depth,
                   null, s.traceparent)::new_row
        from sent s
        where s.kind in ('invoke', 'send_email')
    )
    select array_agg(made order by ordinality, place) into v_rows from rows;
    return case when v_rows is null then 0 else write_rows(v_rows) end;
end
$$;

-- Rows that wait in a queue follow its consumer: a new one gets what waited for somebody; without one they wait again. What is
-- in flight, or locked because it is about to be, ends as it began, retries included. Returns how many rows followed.
create function assign_queue(p_queue integer) returns bigint language plpgsql as $$
declare
    v_consumer record;
    v_count bigint;
begin
    perform hold_queue(p_queue, true);
    select t.id, t.script_id, t.registered_by_principal, t.max_attempts, t.backoff, t.backoff_base_ms, t.backoff_max_ms,
           t.backoff_jitter_pct, case when qt.concurrency is null then 0 else qt.queue_id end as lane
    into v_consumer
    from queue_triggers qt join triggers t on t.id = qt.trigger_id
    where qt.queue_id = p_queue and t.is_enabled;
    if found then
        with mine as materialized (
            select o.ctid as row_at from outbox o where o.queue_id = p_queue and o.state in (0, 3) for update skip locked
        )
        update outbox o
        set state = 0, trigger_id = v_consumer.id, script_id = v_consumer.script_id, script_version = null,
            principal_id = v_consumer.registered_by_principal, lane = v_consumer.lane, max_attempts = v_consumer.max_attempts,
            backoff = v_consumer.backoff, backoff_base_ms = v_consumer.backoff_base_ms,
            backoff_max_ms = v_consumer.backoff_max_ms, backoff_jitter_pct = v_consumer.backoff_jitter_pct
        from mine
        where o.ctid = mine.row_at;
    else
        with mine as materialized (
            select o.ctid as row_at from outbox o where o.queue_id = p_queue and o.state = 0 for update skip locked
        )
        update outbox o set state = 3, trigger_id = null from mine where o.ctid = mine.row_at;
    end if;
    get diagnostics v_count = row_count;
    return v_count;
end
$$;

-- Dead letters and their handlers ------------------------------------------------------------------------

-- Writes the rows of the scripts that handle these letters, in the transaction that wrote the letters.
create function write_handlers(p_letters uuid[]) returns integer
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_rows new_row[];
begin
    with letters as (
        select d.*, s.name as script_name,
               (select l.label from trigger_labels l where l.source = d.source and l.id = d.trigger_id) as trigger_name,
               (select min(a.started_at) from dead_letter_attempts a where a.dead_letter_id = d.id) as first_attempt_at,
               (select max(a.finished_at) from dead_letter_attempts a where a.dead_letter_id = d.id) as last_attempt_at
        from unnest(p_letters) as l (id)
        cross join lateral (select * from dead_letters d where d.id = l.id limit 1) d
        left join lateral (select s.name from scripts s where s.id = d.script_id limit 1) s on true
    ), events as (
        select l.id, l.body, l.root_execution_id, l.trigger_depth, l.traceparent, f.trigger_id as handler_id,
               open_object(json_build_object(
                   'dead_letter_id', l.id, 'reason', l.reason, 'attempts', l.attempts, 'trigger_id', l.trigger_id,
                   'trigger', l.trigger_name, 'script_id', l.script_id, 'script', l.script_name,
                   'first_attempt_at', rfc3339(l.first_attempt_at), 'last_attempt_at', rfc3339(l.last_attempt_at)))
                   || ',"last_error":' || l.last_error || ',"original":{"source":' || convert_to(to_json(l.source)::text, 'UTF8')
                   || case when octet_length(l.event) > 2 then ','::bytea else ''::bytea end || substring(l.event from 2)
                   || '}' as event
        from letters l
        join lateral (
            select f.trigger_id from dead_letter_triggers f
            where f.app_id = l.app_id and (f.source is null or f.source = l.source)
              and (f.trigger_name is null or f.trigger_name = l.trigger_name)
              and (f.script_name is null or f.script_name = l.script_name)) f on true
    )
    select array_agg(row(caused_id(e.id, t.id::text), t.app_id, t.script_id, null, t.kind, t.id, t.registered_by_principal, e.event,
                         e.body, 1, 'constant', 0, 0, 0, null, 0, 0, null, 0, e.root_execution_id, e.id, e.trigger_depth + 1,
                         e.id, e.traceparent)::new_row order by e.id, t.id)
    into v_rows
    from events e
    join lateral (select * from triggers t where t.id = e.handler_id and t.is_enabled limit 1) t on true;
    return case when v_rows is null then 0 else write_rows(v_rows) end;
end
$$;

-- Resolves letters whose handlers have ended, while they are unresolved: the first that succeeds sets handled_by_script,
-- the last one that ends sets handler_failed when none did. The letters are locked in a statement of their own: of two
-- handlers that end at once, the second looks after the first has committed.
create function resolve_handled(p_letters uuid[], p_succeeded uuid[]) returns void language plpgsql as $$
begin
    perform from dead_letters d where d.id = any(p_letters) order by d.id for update;
    update dead_letters d
    set resolution = case when d.id = any(p_succeeded) then 'handled_by_script' else 'handler_failed' end, resolved_at = now()
    where d.id = any(p_letters) and d.resolution = 'unresolved'
      and (d.id = any(p_succeeded) or not exists (select from outbox o where o.dead_letter_id = d.id));
end
$$;
