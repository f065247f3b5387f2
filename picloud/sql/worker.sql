-- What a worker process says to PostgreSQL: who it is, what it begins, that it lives, how its runs ended.

-- name: register
-- A worker process announces itself; the relay sizes its window from the sum of threads.
insert into workers (id, host, pid, parent_id, threads, takes_sync, release, protocol)
values (%(id)s, %(host)s, %(pid)s, %(parent_id)s, %(threads)s, %(takes_sync)s, %(release)s, %(protocol)s)
on conflict (id) do update set beat_at = now()

-- name: begin
-- See begin_executions_v1.
select * from begin_executions_v1(
    %(worker_id)s, %(host)s, %(pid)s, %(parent_id)s, %(threads)s::smallint, %(takes_sync)s, %(release)s,
    %(protocol)s::smallint, %(run_ms)s::real, %(beats)s, %(ids)s::text::uuid[], %(tokens)s::text::bigint[], %(grace)s,
    %(inline_bytes)s)

-- name: may_begin
-- Why a begin brought nothing: this process drains, or is older than the installation accepts.
select coalesce((select draining_at is not null from workers where id = %(worker_id)s), false) as is_draining,
       (select oldest_worker_protocol from installation) as oldest_worker_protocol

-- name: payload
select event, body from payloads where id = %(id)s and day = %(day)s

-- name: script_versions
-- Sources the process has not compiled yet.
select v.script_id, v.version, v.source, v.limits
from script_versions v
join unnest(%(script_ids)s::int[], %(versions)s::int[]) as wanted (script_id, version)
  on v.script_id = wanted.script_id and v.version = wanted.version

-- name: trigger_label
select label from trigger_labels where source = %(source)s and id = %(trigger_id)s

-- name: beat
-- Says that this process lives, and learns which of its runs are no longer its own (cancelled, or taken over).
with beat as (
    update workers set beat_at = now(), run_ms = %(run_ms)s where id = %(worker_id)s returning draining_at
)
select (select draining_at is not null from beat) as is_draining,
       (select oldest_worker_protocol from installation) as oldest_worker_protocol,
       array(select x.id from unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) as x (id, token)
             where not exists (select from outbox o where o.id = x.id and o.token = x.token)) as lost,
       set_config('synchronous_commit', 'off', true) as commit_mode

-- name: extend_leases
-- Runs that are made again because others changed what they read need another deadline: theirs counts from the begin.
update outbox o
set lease_until = now() + x.timeout_ms * interval '1 ms' + %(grace)s
from unnest(%(ids)s::uuid[], %(tokens)s::bigint[], %(timeouts_ms)s::int[]) as x (id, token, timeout_ms)
where o.id = x.id and o.token = x.token and o.state = 2
returning set_config('synchronous_commit', 'off', true)

-- name: complete
-- See complete_executions_v1. may_lag: only sync runs without effects are in the batch, nobody was promised durability.
select c.*, case when %(may_lag)s then set_config('synchronous_commit', 'off', true) end as commit_mode
from complete_executions_v1(%(runs)s::text::run_end[], %(data)b) c

-- name: commit
-- See commit_executions_v1.
select c.*, case when %(may_lag)s then set_config('synchronous_commit', 'off', true) end as commit_mode
from commit_executions_v1(%(runs)s::text::run_end[], %(data)b, %(reads)s::text::kv_read[], %(writes)s::text::kv_write[],
                          %(sent)s::text::sent[], %(is_chain)s) c

-- name: lock_keys
-- For a run that has lost again and again: it runs while it holds what it touched last time.
select kv_lock(%(reads)s::text::kv_read[], '{}')

-- name: abandon
-- The answer was committed, but nobody listens at its inbox any more.
with marked as (
    update executions set status = 'abandoned'
    where id = any(%(ids)s) and is_sync and status = 'completed'
    returning id, app_id, script_id
)
insert into abandoned_executions (execution_id, app_id, script_id, reason)
select id, app_id, script_id, 'client_gone' from marked

-- name: unpublish
-- Messages popped and never begun (their process died in between): free again at once.
update outbox o
set state = 0, token = new_token(), lease_until = null, available_at = now()
from unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) as x (id, token)
where o.id = x.id and o.token = x.token and o.state = 1
returning o.id

-- name: held_by
-- What a worker process that ended still owned; settled by complete_executions_v1 under these tokens.
select id, token, is_sync, crashes from outbox where worker_id = %(worker_id)s and state = 2

-- name: forget
-- A worker process that ended and holds nothing.
delete from workers where id = %(worker_id)s
