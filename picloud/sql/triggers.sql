-- Triggers and queues: what the control API and a deploy change and read. The caller has locked the app and raises its revision.

-- name: now
select now() as at

-- name: triggers
-- triggers ls and, with name, triggers show; `after` is the name the last page ended with. Waiting: accepted, and not begun.
select t.id, %(app)s::text as app, t.name, t.kind, t.script_id, s.name as script, t.registered_by_principal as principal_id,
       p.name as principal, t.is_enabled, t.retry, t.max_attempts, t.backoff, t.backoff_base_ms, t.backoff_max_ms,
       t.backoff_jitter_pct, t.created_at,
       coalesce(k.is_prefix, b.is_prefix) as is_prefix, k.collection, k.ops, b.topic,
       c.schedule, c.timezone, c.missed, c.next_at, c.fired_at,
       u.queue_id, q.name as queue, u.concurrency, e.address, d.source, d.trigger_name, d.script_name,
       coalesce(w.waiting, 0) as waiting
from triggers t
join scripts s on s.id = t.script_id
join principals p on p.id = t.registered_by_principal
left join kv_triggers k on k.trigger_id = t.id
left join cron_triggers c on c.trigger_id = t.id
left join pubsub_triggers b on b.trigger_id = t.id
left join queue_triggers u on u.trigger_id = t.id
left join queues q on q.id = u.queue_id
left join email_triggers e on e.trigger_id = t.id
left join dead_letter_triggers d on d.trigger_id = t.id
left join (
    select o.source, o.trigger_id, count(*) as waiting from outbox o
    where o.app_id = %(app_id)s and o.trigger_id is not null and o.state in (0, 1)
    group by o.source, o.trigger_id
) w on w.source = t.kind and w.trigger_id = t.id
where t.app_id = %(app_id)s
  and (%(name)s::text is null or t.name = %(name)s)
  and (%(kind)s::text is null or t.kind = %(kind)s)
  and (%(after)s::text is null or t.name > %(after)s)
order by t.name
limit %(limit)s

-- name: insert_trigger
insert into triggers (app_id, name, kind, script_id, registered_by_principal, is_enabled, retry, max_attempts, backoff,
                      backoff_base_ms, backoff_max_ms, backoff_jitter_pct)
values (%(app_id)s, %(name)s, %(kind)s, %(script_id)s, %(principal_id)s, %(is_enabled)s, %(retry)s, %(max_attempts)s, %(backoff)s,
        %(base_ms)s, %(max_ms)s, %(jitter_pct)s)
returning id

-- name: update_trigger
-- The trigger keeps its id, so that what it caused before and after belongs together.
update triggers
set script_id = %(script_id)s, registered_by_principal = %(principal_id)s, is_enabled = %(is_enabled)s, retry = %(retry)s,
    max_attempts = %(max_attempts)s, backoff = %(backoff)s, backoff_base_ms = %(base_ms)s, backoff_max_ms = %(max_ms)s,
    backoff_jitter_pct = %(jitter_pct)s
where id = %(id)s
returning id

-- name: delete_triggers
-- Their details go with them; rows they have written stay.
delete from triggers where id = any(%(ids)s)

-- What each kind listens to ----------------------------------------------------------------------------

-- name: release_takings
-- A queue and an address have one trigger: of triggers that are changed together, all let go before one takes.
with queues as (
    delete from queue_triggers where trigger_id = any(%(ids)s)
)
delete from email_triggers where trigger_id = any(%(ids)s)

-- name: put_kv
insert into kv_triggers (trigger_id, app_id, is_prefix, collection, ops)
values (%(trigger_id)s, %(app_id)s, %(is_prefix)s, %(literal)s, %(ops)s)
on conflict (trigger_id) do update set is_prefix = excluded.is_prefix, collection = excluded.collection, ops = excluded.ops

-- name: put_cron
-- Without a next_at it goes on from the one it has, which the relay may have moved since somebody read it. (A new one has
-- one: infinity only fills the row that meets the old one.)
insert into cron_triggers as c (trigger_id, schedule, timezone, missed, is_on, next_at)
values (%(trigger_id)s, %(schedule)s, %(timezone)s, %(missed)s, %(is_on)s, coalesce(%(next_at)s::timestamptz, 'infinity'))
on conflict (trigger_id) do update
set schedule = excluded.schedule, timezone = excluded.timezone, missed = excluded.missed, is_on = excluded.is_on,
    next_at = coalesce(%(next_at)s::timestamptz, c.next_at)

-- name: put_pubsub
insert into pubsub_triggers (trigger_id, app_id, is_prefix, topic) values (%(trigger_id)s, %(app_id)s, %(is_prefix)s, %(literal)s)
on conflict (trigger_id) do update set is_prefix = excluded.is_prefix, topic = excluded.topic

-- name: put_queue
insert into queue_triggers (trigger_id, queue_id, concurrency)
select %(trigger_id)s, q.id, %(concurrency)s from queues q where q.app_id = %(app_id)s and q.name = %(queue)s
returning queue_id

-- name: lock_addresses
-- In the order of their locks, whatever the order of the addresses.
select pg_advisory_xact_lock(7305, names.name)
from (select distinct hashtext(a) as name from unnest(%(addresses)s::text[]) a order by 1) names

-- name: put_email
-- No row when another app has the address, which is locked.
insert into email_triggers (trigger_id, address) values (%(trigger_id)s, %(address)s)
on conflict (address) do nothing
returning trigger_id

-- name: put_dead_letter
insert into dead_letter_triggers (trigger_id, app_id, source, trigger_name, script_name)
values (%(trigger_id)s, %(app_id)s, %(source)s, %(trigger_name)s, %(script_name)s)
on conflict (trigger_id) do update
set source = excluded.source, trigger_name = excluded.trigger_name, script_name = excluded.script_name

-- Queues --------------------------------------------------------------------------------------------------

-- name: queues
-- queues ls and, with name, queues show; `after` is the name the last page ended with. Held: nobody consumes the queue.
select q.id, %(app)s::text as app, q.name, t.name as consumer, s.name as script, coalesce(t.is_enabled, false) as is_consumed,
       u.concurrency, coalesce(r.waiting, 0) as waiting, coalesce(r.held, 0) as held, coalesce(r.in_flight, 0) as in_flight,
       extract(epoch from now() - r.oldest_at)::float8 as oldest_seconds, q.created_at
from queues q
left join queue_triggers u on u.queue_id = q.id
left join triggers t on t.id = u.trigger_id
left join scripts s on s.id = t.script_id
left join (
    select o.queue_id, count(*) filter (where o.state = 0) as waiting, count(*) filter (where o.state = 3) as held,
           count(*) filter (where o.state in (1, 2)) as in_flight,
           min(o.accepted_at) filter (where o.state in (0, 3)) as oldest_at
    from outbox o
    where o.app_id = %(app_id)s and o.queue_id is not null
    group by o.queue_id
) r on r.queue_id = q.id
where q.app_id = %(app_id)s
  and (%(name)s::text is null or q.name = %(name)s)
  and (%(after)s::text is null or q.name > %(after)s)
order by q.name
limit %(limit)s

-- name: insert_queues
-- Those that are not there yet.
insert into queues (app_id, name) select %(app_id)s, name from unnest(%(names)s::text[]) as wanted (name)
on conflict (app_id, name) do nothing
returning id

-- name: hold_queues
-- Nobody sends to the app's queues before this transaction ends: what is counted in them stays true.
select hold_queue(q.id, true) from (select id from queues where app_id = %(app_id)s order by id) q

-- name: delete_queues
-- Their consumers and messages have gone; a message that runs ends as it began.
delete from queues where id = any(%(ids)s)

-- name: assign_queues
-- Waiting messages follow their queue's consumer, or wait for one.
select coalesce(sum(assign_queue(q.id)), 0) as rows from (select id from unnest(%(ids)s::int[]) as wanted (id) order by id) q

-- What still waits ------------------------------------------------------------------------------------

-- name: cancel_waiting
-- Rows that have not begun end as cancelled: those of scripts and triggers that are removed, and messages of queues that
-- are. A sync row is left to who waits for it, and a row that is being handed over in this moment runs.
with waiting as materialized (
    select o.ctid as row_at from outbox o
    where o.app_id = %(app_id)s and o.state in (0, 1, 3) and not o.is_sync
      and (o.queue_id = any(%(queue_ids)s)
           or o.queue_id is null and (o.script_id = any(%(script_ids)s)
                                      or o.source <> 'http' and o.trigger_id = any(%(trigger_ids)s)))
    for update skip locked
), gone as (
    delete from outbox o using waiting where o.ctid = waiting.row_at returning o
), recorded as materialized (
    select record_unrun(array_agg(o), 'cancelled', %(error)s) as count from gone having count(*) > 0
)
select coalesce((select count from recorded), 0) as count
