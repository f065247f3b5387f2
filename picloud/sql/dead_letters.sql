-- Dead letters: seen, edited, replayed, ignored. Whoever resolves one does so only while it is open
-- (unresolved, or every handler failed), so that of two people one wins and the other is told.
-- find_dead_letters, replay_row and replay_dead_letters are in migrations/0009_dead_letters.sql.

-- name: dead_letters
-- dead-letters ls and, with ids, show; newest first by the time they were accepted.
select d.id, d.id as execution_id, apps.name as app, scripts.name as script, d.script_version as version, d.source,
       labels.label as trigger, principals.name as principal, d.fingerprint,
       d.reason, d.last_error, d.attempts as attempt_count, d.resolution, d.resolved_at, resolvers.name as resolved_by,
       d.resolution_note, d.replayed_as, d.root_execution_id, d.parent_execution_id, d.trigger_depth, d.accepted_at, d.died_at,
       d.edited_from is not null as is_edited, queues.name as queue, d.order_key,
       case when %(with_event)s then d.event end as event, case when %(with_event)s then d.body end as body,
       case when %(with_event)s then d.edited_from end as edited_from
from find_dead_letters(%(ids)s, %(app_ids)s, %(script)s, %(source)s, %(trigger)s, %(fingerprint)s, %(resolution)s,
                       %(since)s, %(until)s, false) d
left join apps on apps.id = d.app_id
left join scripts on scripts.id = d.script_id
left join principals on principals.id = d.principal_id
left join principals resolvers on resolvers.id = d.resolved_by
left join queues on queues.id = d.queue_id
left join trigger_labels labels on labels.source = d.source and labels.id = d.trigger_id
where %(after)s::uuid is null or d.id < %(after)s
order by d.id desc
limit %(limit)s

-- name: groups
-- dead-letters groups: letters that died of the same error, the most frequent first; the example is the last to die.
select g.fingerprint, apps.name as app, scripts.name as script, g.count, g.open, g.first_died_at, g.last_died_at, g.example_id,
       example.source, example.last_error
from (
    select d.fingerprint, count(*) as count,
           count(*) filter (where d.resolution in ('unresolved', 'handler_failed')) as open,
           min(d.died_at) as first_died_at, max(d.died_at) as last_died_at,
           (array_agg(d.id order by d.died_at desc, d.id desc))[1] as example_id
    from find_dead_letters(%(ids)s, %(app_ids)s, %(script)s, %(source)s, %(trigger)s, %(fingerprint)s, %(resolution)s,
                           %(since)s, %(until)s, %(only_open)s) d
    group by d.fingerprint
    order by count(*) desc, max(d.died_at) desc, d.fingerprint
    limit %(limit)s
) g
join dead_letters example on example.id = g.example_id
left join apps on apps.id = example.app_id
left join scripts on scripts.id = example.script_id
order by g.count desc, g.last_died_at desc, g.fingerprint

-- name: attempts
select attempt, error, started_at, finished_at, logs from dead_letter_attempts
where dead_letter_id = %(id)s order by attempt, finished_at

-- name: handlers
-- What ran, runs or waits because this letter died: its handlers, oldest first. By the root, which has an index.
select x.id, scripts.name as script, labels.label as trigger, x.status, x.error, x.finished_at
from (
    select id, script_id, trigger_id, case state when 2 then 'running' else 'pending' end as status, null::bytea as error,
           null::timestamptz as finished_at
    from outbox where dead_letter_id = %(id)s
    union all
    select id, script_id, trigger_id, status, error, finished_at
    from executions where root_execution_id = %(root)s and parent_execution_id = %(id)s and source = 'dead_letter'
) x
left join scripts on scripts.id = x.script_id
left join trigger_labels labels on labels.source = 'dead_letter' and labels.id = x.trigger_id
order by x.id

-- name: status
-- How the execution is that a replay made; no row: history has forgotten it.
select case state when 2 then 'running' else 'pending' end as status from outbox where id = %(id)s
union all
select status from executions where id = %(id)s
limit 1

-- name: count_open
-- How many a replay, or an ignore, of many means.
select count(*) as count
from find_dead_letters(%(ids)s, %(app_ids)s, %(script)s, %(source)s, %(trigger)s, %(fingerprint)s, %(resolution)s,
                       %(since)s, %(until)s, true) d

-- name: open
-- The oldest first: what died first runs first.
select d.id
from find_dead_letters(%(ids)s, %(app_ids)s, %(script)s, %(source)s, %(trigger)s, %(fingerprint)s, %(resolution)s,
                       %(since)s, %(until)s, true) d
order by d.died_at, d.id
limit %(limit)s

-- name: replay
-- See replay_dead_letters.
select * from replay_dead_letters(%(ids)s, %(new_ids)s, %(app_ids)s, %(principal_id)s, %(is_original)s, %(first_at)s,
                                  %(interval_ms)s)

-- name: rehearsed
-- What a dry run of a letter needs: the script and version a replay would run now, and as whom. A script_id that is null:
-- there is none. The event is what a replay would run, unless it is given.
select d.source, d.event, d.body, d.root_execution_id, d.trigger_depth, apps.id as app_id, apps.name as app, apps.revision,
       apps.paused_at is not null as is_paused, coalesce(scripts.name, was.name) as script, made.script_id, made.script_version,
       made.principal_id, labels.label as trigger, scripts.timeout_ms, d.script_version as original_version
from dead_letters d
join apps on apps.id = d.app_id
left join scripts was on was.id = d.script_id
left join lateral replay_row(d, d.id, %(is_original)s, 0) made on true
left join scripts on scripts.id = made.script_id
left join trigger_labels labels on labels.source = d.source and labels.id = coalesce(made.trigger_id, d.trigger_id)
where d.id = %(id)s and (%(app_ids)s::int[] is null or d.app_id = any(%(app_ids)s))

-- name: ignore
-- Locked in one order for everybody; a letter that somebody resolved meanwhile is left alone.
with mine as materialized (
    select d.id from dead_letters d
    where d.id = any(%(ids)s) and d.resolution in ('unresolved', 'handler_failed') and (%(app_ids)s::int[] is null or d.app_id = any(%(app_ids)s))
    order by d.id for update
)
update dead_letters d
set resolution = 'ignored', resolved_at = now(), resolved_by = %(principal_id)s, resolution_note = %(note)s
from mine where d.id = mine.id
returning d.id

-- name: lock
-- The event as it is, which nobody else edits or replays before this transaction ends.
select id, source, event, body, edited_from, resolution from dead_letters
where id = %(id)s and (%(app_ids)s::int[] is null or app_id = any(%(app_ids)s))
for update

-- name: edit
update dead_letters set event = %(event)s, body = %(body)s, edited_from = coalesce(edited_from, %(edited_from)s)
where id = %(id)s
