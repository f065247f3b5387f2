-- Accepting work: a payload and its outbox row, written together or not at all.

-- name: accept
-- One statement for a whole batch. The outbox row is written only for payloads written now: when the COMMIT's
-- answer was lost the same batch is sent again, and whatever had been accepted (it may have run and be gone by
-- now) is not accepted twice. Rows whose app changed since the caller cached it, or is paused, are not written
-- and come back with is_fresh = false.
-- A sync row comes already leased to its writer (state 1): the writer publishes it itself.
-- durable = false: nobody was promised anything yet, so the commit need not wait for the disk. set_config inside
-- the statement is the only form that works behind a transaction pooler.
with arrivals as (
    select * from unnest(
        %(ids)s::uuid[], %(days)s::date[], %(app_ids)s::int[], %(app_revisions)s::bigint[], %(script_ids)s::int[],
        %(script_versions)s::int[], %(sources)s::text[], %(trigger_ids)s::int[], %(principal_ids)s::int[],
        %(events)s::bytea[], %(bodies)s::bytea[], %(tokens)s::bigint[], %(reply_tos)s::text[], %(reply_ms)s::int[],
        %(max_attempts)s::smallint[], %(backoffs)s::text[], %(base_ms)s::int[], %(max_ms)s::int[], %(jitter_pcts)s::smallint[],
        %(roots)s::uuid[], %(depths)s::smallint[], %(order_keys)s::text[], %(delay_ms)s::bigint[]
    ) with ordinality as a (
        id, day, app_id, app_revision, script_id, script_version, source, trigger_id, principal_id, event, body, token,
        reply_to, reply_ms, max_attempts, backoff, base_ms, max_ms, jitter_pct, root, depth, order_key, delay_ms, position)
), fresh as (
    select a.* from arrivals a
    join apps on apps.id = a.app_id and apps.revision = a.app_revision and apps.paused_at is null
), stored as (
    insert into payloads (id, day, app_id, event, body)
    select id, day, app_id, event, body from fresh
    on conflict (id, day) do nothing
    returning id
), written as (
    insert into outbox (id, payload_day, state, app_id, script_id, script_version, source, trigger_id, principal_id, token,
                        max_attempts, backoff, backoff_base_ms, backoff_max_ms, backoff_jitter_pct, is_sync, reply_to,
                        reply_deadline, lease_until, order_key, root_execution_id, trigger_depth, available_at, payload_bytes)
    select f.id, f.day, case when f.reply_to is null then 0 else 1 end, f.app_id, f.script_id, f.script_version, f.source,
           f.trigger_id, f.principal_id, f.token, f.max_attempts, f.backoff, f.base_ms, f.max_ms, f.jitter_pct,
           f.reply_to is not null, f.reply_to, now() + f.reply_ms * interval '1 ms',
           case when f.reply_to is null then null else now() + %(publish_lease)s::interval end,
           f.order_key, f.root, f.depth, now() + f.delay_ms * interval '1 ms',
           octet_length(f.event) + coalesce(octet_length(f.body), 0)
    from fresh f join stored using (id)
    order by f.position
)
select a.id, f.id is not null as is_fresh, now() as accepted_at,
       case when %(durable)s then null else set_config('synchronous_commit', 'off', true) end as commit_mode
from arrivals a left join fresh f using (id)

-- name: claim_idempotency_key
-- The first request with a key owns it. A second one waits here until the first has committed, then gets no row.
insert into idempotency_keys (app_id, key, fingerprint, execution_id)
values (%(app_id)s, %(key)s, %(fingerprint)s, %(execution_id)s)
on conflict (app_id, key) do nothing
returning execution_id

-- name: read_idempotency_key
select execution_id, fingerprint, accepted_at from idempotency_keys where app_id = %(app_id)s and key = %(key)s

-- name: forget_idempotency_key
-- A sync run that was withdrawn before it began was answered 503, which asks for a repeat: the key must not keep
-- answering 503 to it.
delete from idempotency_keys
where app_id = %(app_id)s and key = %(key)s and execution_id = %(execution_id)s

-- name: withdraw_sync
-- A sync row that could not be published: its caller is answered 503, so it must not run later.
with gone as (
    delete from outbox where id = any(%(ids)s) and state = 1 and is_sync returning *
)
insert into executions (id, app_id, script_id, script_version, source, trigger_id, principal_id, status, token, attempts,
                        is_sync, root_execution_id, trigger_depth, accepted_at, error)
select id, app_id, script_id, script_version, source, trigger_id, principal_id, 'failed', token, attempt,
       is_sync, root_execution_id, trigger_depth, accepted_at, %(error)s
from gone
returning id

-- name: give_up_waiting
-- The client of a sync run has left: its completion will be recorded as abandoned.
update outbox set reply_deadline = least(reply_deadline, now()) where id = %(id)s and is_sync
