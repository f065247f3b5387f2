-- Dead letters: seen, edited, replayed, ignored. Whoever resolves one does so only while it is open
-- (unresolved, or every handler failed), so that of two people one wins and the other is told.

-- name: dead_letters
-- dead-letters ls and, with id, show; newest first by the time they were accepted.
select d.id, d.id as execution_id, apps.name as app, scripts.name as script, d.script_version as version, d.source,
       labels.label as trigger, principals.name as principal,
       d.reason, d.last_error, d.attempts as attempt_count, d.resolution, d.resolved_at, resolvers.name as resolved_by,
       d.resolution_note, d.replayed_as, d.root_execution_id, d.trigger_depth, d.accepted_at, d.died_at,
       d.edited_from is not null as is_edited,
       case when %(with_event)s then d.event end as event, case when %(with_event)s then d.body end as body,
       case when %(with_event)s then d.edited_from end as edited_from
from dead_letters d
left join apps on apps.id = d.app_id
left join scripts on scripts.id = d.script_id
left join principals on principals.id = d.principal_id
left join principals resolvers on resolvers.id = d.resolved_by
left join trigger_labels labels on labels.source = d.source and labels.id = d.trigger_id
where (%(id)s::uuid is null or d.id = %(id)s)
  and (%(app_id)s::int is null or d.app_id = %(app_id)s)
  and (%(script)s::text is null or scripts.name = %(script)s)
  and (%(source)s::text is null or d.source = %(source)s)
  and (%(trigger)s::text is null or d.trigger_id::text = %(trigger)s or labels.label = %(trigger)s)
  and (%(status)s::text is null or d.resolution = %(status)s)
  and (%(since)s::timestamptz is null or d.died_at >= %(since)s)
  and (%(after)s::uuid is null or d.id < %(after)s)
order by d.id desc
limit %(limit)s

-- name: attempts
select attempt, error, started_at, finished_at, logs from dead_letter_attempts
where dead_letter_id = %(id)s order by attempt, finished_at

-- name: count_replayable
-- How many a replay of many would run again.
select count(*) as count
from dead_letters d join scripts on scripts.id = d.script_id
where d.resolution in ('unresolved', 'handler_failed')
  and (%(app_id)s::int is null or d.app_id = %(app_id)s)
  and (%(script)s::text is null or scripts.name = %(script)s)
  and (%(source)s::text is null or d.source = %(source)s)
  and (%(resolution)s::text is null or d.resolution = %(resolution)s)
  and (%(since)s::timestamptz is null or d.died_at >= %(since)s)
  and (%(ids)s::uuid[] is null or d.id = any(%(ids)s))

-- name: replayable
-- The oldest first: what died first runs first.
select d.id
from dead_letters d join scripts on scripts.id = d.script_id
where d.resolution in ('unresolved', 'handler_failed')
  and (%(app_id)s::int is null or d.app_id = %(app_id)s)
  and (%(script)s::text is null or scripts.name = %(script)s)
  and (%(source)s::text is null or d.source = %(source)s)
  and (%(resolution)s::text is null or d.resolution = %(resolution)s)
  and (%(since)s::timestamptz is null or d.died_at >= %(since)s)
  and (%(ids)s::uuid[] is null or d.id = any(%(ids)s))
order by d.died_at, d.id
limit %(limit)s

-- name: replay
-- Resolution, payload and outbox row in one statement: a letter is replayed once, whoever else tries at the same
-- time finds it resolved. The row runs the living script of the same name, as the letter's own may have been
-- removed and deployed again since; without one the letter stays as it is. An app's pause holds the row back.
with wanted as (
    select * from unnest(%(ids)s::uuid[], %(new_ids)s::uuid[], %(new_days)s::date[]) with ordinality as w (id, new_id, new_day, position)
), resolved as (
    update dead_letters d
    set resolution = 'replayed', resolved_at = now(), resolved_by = %(principal_id)s, resolution_note = null, replayed_as = w.new_id
    from wanted w, scripts was, scripts living
    where d.id = w.id and d.resolution in ('unresolved', 'handler_failed')
      and (%(app_id)s::int is null or d.app_id = %(app_id)s)
      and was.id = d.script_id
      and living.app_id = d.app_id and living.name = was.name and living.deleted_at is null
    returning d.*, w.new_id, w.new_day, w.position, living.id as living_script_id
), stored as (
    insert into payloads (id, day, app_id, event, body)
    select new_id, new_day, app_id, event, body from resolved
    returning id
), written as (
    insert into outbox (id, payload_day, app_id, script_id, source, trigger_id, principal_id, max_attempts, backoff,
                        backoff_base_ms, backoff_max_ms, backoff_jitter_pct, order_key, root_execution_id, parent_execution_id,
                        trigger_depth, payload_bytes)
    select r.new_id, r.new_day, r.app_id, r.living_script_id, r.source, r.trigger_id, r.principal_id, r.max_attempts, r.backoff,
           r.backoff_base_ms, r.backoff_max_ms, r.backoff_jitter_pct, r.order_key, r.root_execution_id, r.parent_execution_id, r.trigger_depth,
           octet_length(r.event) + coalesce(octet_length(r.body), 0)
    from resolved r join stored on stored.id = r.new_id
    order by r.position
    returning id
)
select r.id, r.new_id as execution_id from resolved r join written on written.id = r.new_id order by r.position

-- name: ignore
update dead_letters
set resolution = 'ignored', resolved_at = now(), resolved_by = %(principal_id)s, resolution_note = %(note)s
where id = %(id)s and resolution in ('unresolved', 'handler_failed') and (%(app_id)s::int is null or app_id = %(app_id)s)
returning id

-- name: lock
-- The event as it is, which nobody else edits or replays before this transaction ends.
select id, source, event, body, edited_from, resolution from dead_letters
where id = %(id)s and (%(app_id)s::int is null or app_id = %(app_id)s)
for update

-- name: edit
update dead_letters set event = %(event)s, body = %(body)s, edited_from = coalesce(edited_from, %(edited_from)s)
where id = %(id)s
