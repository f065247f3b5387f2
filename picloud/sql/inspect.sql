-- What ran, what it said, what waits, who runs it: reads for people and programs.
-- Lists carry optional filters; a filter that is null is not there.

-- name: executions
-- executions ls, and by their ids show and tree: one shape whether the row is still in the outbox or has ended.
-- An id sorts by the time it was accepted and is in one of the two tables only, so pages neither repeat nor lose
-- a row that ends while somebody pages. Ordered by the bare column: both tables then deliver it from an index, and
-- a page costs its own rows, not the whole history.
select x.id, apps.name as app, scripts.name as script, x.script_version as version, x.source,
       labels.label as trigger, principals.name as principal,
       x.status, x.attempts, x.is_sync, x.root_execution_id, x.parent_execution_id, x.trigger_depth, x.worker_id,
       x.accepted_at as created_at, x.started_at, x.finished_at, x.run_us, x.operations, x.result_kind, x.http_status,
       case when %(with_result)s then x.result end as result, case when %(with_result)s then x.http_headers end as http_headers,
       case when %(with_result)s then
           coalesce(x.error, (select t.error from attempts t where t.execution_id = x.id order by t.attempt desc limit 1))
       else x.error end as error
from (
    select id, app_id, script_id, script_version, source, trigger_id, principal_id,
           case state when 2 then 'running' else 'pending' end as status, attempt as attempts, is_sync, root_execution_id,
           parent_execution_id, trigger_depth, worker_id, accepted_at, begun_at as started_at, null::timestamptz as finished_at,
           null::bigint as run_us, null::bigint as operations, null::text as result_kind, null::smallint as http_status,
           null::bytea as result, null::bytea as http_headers, null::bytea as error
    from outbox
    union all
    select id, app_id, script_id, script_version, source, trigger_id, principal_id,
           status, attempts, is_sync, root_execution_id,
           parent_execution_id, trigger_depth, worker_id, accepted_at, started_at, finished_at,
           run_us, operations, result_kind, http_status,
           result, http_headers, error
    from executions
) x
left join apps on apps.id = x.app_id
left join scripts on scripts.id = x.script_id
left join principals on principals.id = x.principal_id
left join trigger_labels labels on labels.source = x.source and labels.id = x.trigger_id
where (%(ids)s::uuid[] is null or x.id = any(%(ids)s))
  and (%(app_ids)s::int[] is null or x.app_id = any(%(app_ids)s))
  and (%(script)s::text is null or scripts.name = %(script)s)
  and (%(source)s::text is null or x.source = %(source)s)
  and (%(trigger)s::text is null or x.trigger_id::text = %(trigger)s or labels.label = %(trigger)s)
  and (%(status)s::text is null or x.status = %(status)s)
  and (%(since)s::timestamptz is null or x.accepted_at >= %(since)s)
  and (%(after)s::uuid is null or x.id < %(after)s)
order by x.id desc
limit %(limit)s

-- name: tree
-- executions tree: what goes back to the same first cause as one execution, oldest first. A chain that leaves by HTTP may
-- come back to another app; asked below one app, the answer is about that app only.
select id from (
    select id, root_execution_id, app_id from outbox
    union all
    select id, root_execution_id, app_id from executions
) x
where root_execution_id = %(root)s and (%(app_ids)s::int[] is null or app_id = any(%(app_ids)s)) and (%(after)s::uuid is null or id > %(after)s)
order by id
limit %(limit)s

-- name: has_ended
-- Asked again and again by ?wait=: one index look-up. No row: not ended, or not known.
select true as ended from executions where id = %(id)s limit 1

-- name: logs_of_execution
-- What one execution logged, attempt by attempt. A line's own time is an offset from when its attempt started.
select l.execution_id, apps.name as app, scripts.name as script, l.attempt, l.written_at, l.lines,
       coalesce(t.started_at, e.started_at) as started_at
from execution_logs l
left join attempts t on t.execution_id = l.execution_id and t.attempt = l.attempt
left join executions e on e.id = l.execution_id and e.attempts = l.attempt
left join outbox o on o.id = l.execution_id
left join apps on apps.id = l.app_id
left join scripts on scripts.id = coalesce(e.script_id, o.script_id)
where l.execution_id = %(id)s and l.attempt between %(first)s and %(last)s
order by l.attempt, l.written_at
limit %(limit)s

-- name: log_horizon
-- Up to when logs can be read without ever having to look back: written_at is when its transaction began, and one
-- that began earlier may commit later. The 100 ms are for those that have begun and not written yet; the 5 s let
-- a transaction that hangs delay a reader only so long.
select greatest(
    now() - interval '5 s',
    least(now() - interval '100 ms',
          (select min(xact_start) from pg_stat_activity
           where datname = current_database() and backend_xid is not null and pid <> pg_backend_pid()))) as horizon

-- name: logs_after
-- logs -f: what was logged after the cursor and before the horizon, oldest first.
-- App by app, because that is how the index is; the day spares the partitions that are older than the cursor.
select l.execution_id, apps.name as app, scripts.name as script, l.attempt, l.written_at, l.lines,
       coalesce(t.started_at, case when e.attempts = l.attempt then e.started_at end) as started_at
from apps
cross join lateral (
    select * from execution_logs l
    where l.app_id = apps.id
      and l.day >= (%(written_at)s::timestamptz at time zone 'UTC')::date - 1
      and l.written_at >= %(written_at)s and l.written_at < %(horizon)s
      and (l.written_at, l.execution_id, l.attempt) > (%(written_at)s, %(execution_id)s, %(attempt)s)
    order by l.written_at, l.execution_id, l.attempt
    limit %(limit)s
) l
left join attempts t on t.execution_id = l.execution_id and t.attempt = l.attempt
left join lateral (select script_id, started_at, attempts from executions where id = l.execution_id limit 1) e on true
left join outbox o on o.id = l.execution_id
left join scripts on scripts.id = coalesce(e.script_id, o.script_id)
where %(app_ids)s::int[] is null or apps.id = any(%(app_ids)s)
order by l.written_at, l.execution_id, l.attempt
limit %(limit)s

-- name: latest_logs
-- Where `logs` without a cursor starts: the last few, newest first.
select l.written_at, l.execution_id, l.attempt
from apps
cross join lateral (
    select * from execution_logs l
    where l.app_id = apps.id and l.written_at < %(horizon)s
    order by l.written_at desc, l.execution_id desc, l.attempt desc
    limit %(limit)s
) l
where %(app_ids)s::int[] is null or apps.id = any(%(app_ids)s)
order by l.written_at desc, l.execution_id desc, l.attempt desc
limit %(limit)s

-- name: outbox
-- outbox ls and, with id, outbox show: rows still to run, the longest accepted first.
select o.id, apps.name as app, scripts.name as script, o.script_version as version, o.source,
       labels.label as trigger, principals.name as principal,
       case o.state when 0 then 'pending' when 1 then 'published' when 2 then 'running' else 'held' end as state,
       o.state = 0 and o.available_at <= now() as due, o.attempt as attempts, o.max_attempts, o.is_sync, o.order_key,
       o.crashes, o.lost, o.worker_id, o.available_at, o.accepted_at as created_at, o.begun_at as started_at, o.lease_until,
       o.root_execution_id, o.parent_execution_id, o.trigger_depth, o.payload_bytes
from outbox o
left join apps on apps.id = o.app_id
left join scripts on scripts.id = o.script_id
left join principals on principals.id = o.principal_id
left join trigger_labels labels on labels.source = o.source and labels.id = o.trigger_id
where (%(id)s::uuid is null or o.id = %(id)s)
  and (%(app_ids)s::int[] is null or o.app_id = any(%(app_ids)s))
  and (%(script)s::text is null or scripts.name = %(script)s)
  and (%(source)s::text is null or o.source = %(source)s)
  and (%(trigger)s::text is null or o.trigger_id::text = %(trigger)s or labels.label = %(trigger)s)
  and (%(status)s::text is null or (case o.state when 0 then 'pending' when 1 then 'published' when 2 then 'running' else 'held' end) = %(status)s)
  and (%(since)s::timestamptz is null or o.accepted_at >= %(since)s)
  and (%(after)s::uuid is null or o.id > %(after)s)
order by o.id
limit %(limit)s

-- name: payload
select p.event, p.body from outbox o join payloads p on p.id = o.id and p.day = o.payload_day where o.id = %(id)s

-- name: cancel
-- One row, in any state, ends as cancelled.
with gone as (
    delete from outbox o
    where o.id = %(id)s and (%(app_ids)s::int[] is null or o.app_id = any(%(app_ids)s))
    returning o
), recorded as materialized (
    select record_unrun(array_agg(o), 'cancelled', %(error)s) from gone
)
select (gone.o).id, (select name from apps where id = (gone.o).app_id) as app, (gone.o).reply_to, (gone.o).state
from gone, recorded

-- name: queues
-- What waits, per app and source. Pending rows that have run before are retrying; those of a queue that nobody consumes
-- (state 3) are pending, and never due.
select apps.name as app, o.source,
       count(*) filter (where o.state in (0, 3)) as pending,
       count(*) filter (where o.state = 0 and o.available_at <= now()) as due,
       count(*) filter (where o.state = 1) as published,
       count(*) filter (where o.state = 2) as running,
       count(*) filter (where o.state in (0, 3) and o.attempt > 0) as retrying,
       coalesce(extract(epoch from now() - min(o.available_at) filter (where o.state = 0 and o.available_at <= now())), 0)::float8
           as oldest_due_seconds
from outbox o left join apps on apps.id = o.app_id
where %(app_ids)s::int[] is null or o.app_id = any(%(app_ids)s)
group by apps.name, o.source
order by apps.name, o.source

-- name: workers
-- Every worker process that is not yet forgotten, with what it runs. An idle one does not beat: Redis tells
-- whether it listens.
select w.id, w.host, w.pid, w.parent_id, w.threads, w.takes_sync, w.release, w.protocol, w.run_ms,
       w.draining_at, w.started_at, w.beat_at, w.beat_at > now() - interval '15 s' as beat_lately,
       (select count(*) from outbox o where o.worker_id = w.id and o.state = 2) as running
from workers w
where %(id)s::uuid is null or w.id = %(id)s
order by w.host, w.started_at, w.id

-- name: drain_worker
-- It begins nothing more from its next beat on; draining it again changes nothing.
update workers set draining_at = coalesce(draining_at, now()) where id = %(id)s returning id

-- name: throughput
-- What was accepted and what ended within the last few seconds: the rows of those seconds are read and no others,
-- while the books count all there ever was. What was accepted and has ended since has ended within them too.
with ended as (
    select e.status, e.accepted_at
    from apps join executions e on e.app_id = apps.id
    where e.day >= current_date - 1 and e.finished_at > now() - make_interval(secs => %(seconds)s)
)
select (select count(*) from ended where accepted_at > now() - make_interval(secs => %(seconds)s))
       + (select count(*) from outbox where accepted_at > now() - make_interval(secs => %(seconds)s)) as accepted,
       count(*) filter (where status = 'completed') as completed,
       count(*) filter (where status in ('failed', 'abandoned')) as failed,
       count(*) filter (where status = 'dead') as dead,
       count(*) filter (where status = 'cancelled') as cancelled,
       count(*) filter (where status = 'depth_exceeded') as depth_exceeded
from ended

-- name: abandoned_executions
-- Sync runs nobody waited for any more, newest first.
select b.execution_id as id, apps.name as app, scripts.name as script, b.reason, b.abandoned_at
from abandoned_executions b
left join apps on apps.id = b.app_id
left join scripts on scripts.id = b.script_id
where (%(app_ids)s::int[] is null or b.app_id = any(%(app_ids)s))
  and (%(script)s::text is null or scripts.name = %(script)s)
  and (%(since)s::timestamptz is null or b.abandoned_at >= %(since)s)
  and (%(after)s::uuid is null or b.execution_id < %(after)s)
order by b.execution_id desc
limit %(limit)s

-- name: books
-- accepted = completed + failed + dead + cancelled + depth_exceeded + pending + running, all read in one snapshot.
-- Accepted is counted from payloads, apart from what became of them; book_totals holds what dropped partitions held.
with counted as (
    select 'accepted' as entry, count(*) as total from payloads where not is_copy
    union all
    select case status when 'abandoned' then 'failed' else status end, count(*) from executions group by 1
    union all
    select case state when 2 then 'running' else 'pending' end, count(*) from outbox group by 1
    union all
    select entry, total from book_totals
)
select coalesce(sum(total) filter (where entry = 'accepted'), 0)::bigint as accepted,
       coalesce(sum(total) filter (where entry = 'completed'), 0)::bigint as completed,
       coalesce(sum(total) filter (where entry = 'failed'), 0)::bigint as failed,
       coalesce(sum(total) filter (where entry = 'dead'), 0)::bigint as dead,
       coalesce(sum(total) filter (where entry = 'cancelled'), 0)::bigint as cancelled,
       coalesce(sum(total) filter (where entry = 'depth_exceeded'), 0)::bigint as depth_exceeded,
       coalesce(sum(total) filter (where entry = 'pending'), 0)::bigint as pending,
       coalesce(sum(total) filter (where entry = 'running'), 0)::bigint as running
from counted

-- name: stats
-- The installation at a glance.
select (select count(*) from apps) as apps,
       (select count(*) from scripts where deleted_at is null) as scripts,
       (select count(*) from routes) as routes,
       (select count(*) from dead_letters where resolution = 'unresolved') as unresolved_dead_letters,
       (select count(*) from outbox where state <> 2) as pending,
       (select count(*) from outbox where state = 2) as running,
       pg_database_size(current_database()) as database_bytes,
       current_setting('server_version') as postgresql_version,
       now() as at

-- name: recent_outcomes
-- How many executions ended how within the last hour. App by app, because that is how the index is.
select e.status, count(*) as count
from apps join executions e on e.app_id = apps.id
where e.day >= current_date - 1 and e.finished_at > now() - interval '1 hour'
group by e.status
