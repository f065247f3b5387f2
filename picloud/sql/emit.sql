-- Firing a source by hand: which triggers listen, and the rows they would have made by themselves.

-- name: named_trigger
select kind, is_enabled from triggers where app_id = %(app_id)s and name = %(trigger)s

-- name: kv_listeners
select t.id from kv_triggers k join triggers t on t.id = k.trigger_id
where k.app_id = %(app_id)s and t.is_enabled and (%(trigger)s::text is null or t.name = %(trigger)s)
  and %(op)s = any(k.ops) and glob_matches(k.is_prefix, k.collection, %(collection)s)

-- name: pubsub_listeners
select t.id from pubsub_triggers p join triggers t on t.id = p.trigger_id
where p.app_id = %(app_id)s and t.is_enabled and (%(trigger)s::text is null or t.name = %(trigger)s)
  and glob_matches(p.is_prefix, p.topic, %(topic)s)

-- name: email_listeners
-- As for mail that comes in: the trigger of the whole address goes before the one of its local part at any domain, and
-- does so while it is disabled.
select first.id from (
    select t.id, t.is_enabled from email_triggers e join triggers t on t.id = e.trigger_id
    where t.app_id = %(app_id)s and (%(trigger)s::text is null or t.name = %(trigger)s)
      and e.address in (%(address)s, %(local_part)s)
    order by e.address = %(address)s desc
    limit 1) first
where first.is_enabled

-- name: cron_triggers
select t.id, t.name, c.schedule, c.timezone from cron_triggers c join triggers t on t.id = c.trigger_id
where t.app_id = %(app_id)s and t.is_enabled and (%(trigger)s::text is null or t.name = %(trigger)s)
order by t.name

-- name: now
-- As events hold it.
select rfc3339(now()) as now

-- name: fire
-- One row for each of these triggers, all with the same event; each is a root of its own.
with rows as materialized (
    select t.id as trigger_id, t.name as trigger, t.script_id,
           row_of_trigger(t, caused_id(%(id)s, t.id::text), %(event)s, null, null, null, 0::smallint) as made
    from triggers t where t.id = any(%(trigger_ids)s)
), written as materialized (
    select write_rows((select array_agg(made order by trigger_id) from rows)) as count
)
select (rows.made).id, rows.trigger, scripts.name as script
from rows join scripts on scripts.id = rows.script_id cross join written
order by rows.trigger_id

-- name: queue
-- A queue with its consumer, when it has one that is on.
select q.id, c.trigger, c.script
from queues q
left join (
    select qt.queue_id, t.name as trigger, scripts.name as script
    from queue_triggers qt join triggers t on t.id = qt.trigger_id join scripts on scripts.id = t.script_id
    where t.is_enabled) c on c.queue_id = q.id
where q.app_id = %(app_id)s and q.name = %(queue)s

-- name: send
-- One message by hand; see send_rows. The retry policy is for a queue that nobody consumes.
select send_rows(
    array[row(null, %(id)s::uuid, %(app_id)s::int, 'queue', %(queue)s::text, null, %(principal_id)s::int,
              1, octet_length(%(message)b::bytea), %(delay_ms)s::bigint, %(order_key)s::text,
              %(max_attempts)s::smallint, %(backoff)s::text, %(base_ms)s::int, %(max_ms)s::int, %(jitter_pct)s::smallint)::sent],
    %(message)b::bytea) as count

-- name: letter
-- A dead letter, which nobody else resolves before this transaction ends; is_handled: handlers are still to run.
select d.id, d.resolution, exists (select from outbox o where o.dead_letter_id = d.id) as is_handled
from dead_letters d where d.id = %(id)s and d.app_id = %(app_id)s for update of d

-- name: reopen
-- Its handlers get it once more: what becomes of it is open again.
update dead_letters set resolution = 'unresolved', resolved_at = null, resolved_by = null, resolution_note = null
where id = %(id)s and resolution = 'handler_failed'

-- name: handle
select write_handlers(array[%(id)s::uuid]) as count

-- name: handlers
select o.id, t.name as trigger, scripts.name as script
from outbox o join triggers t on t.id = o.trigger_id join scripts on scripts.id = o.script_id
where o.dead_letter_id = %(id)s
order by o.seq
