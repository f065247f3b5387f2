-- The relay: what is due, what may be published, what has to be taken back.

-- name: lanes
-- A lane is one app's sync or async rows, or one queue that runs only so many messages at once. Loose index scan over
-- outbox_due: one probe a lane, however deep it is.
with recursive found as (
    (select app_id, is_sync, lane, available_at from outbox where state = 0 order by app_id, is_sync, lane, available_at limit 1)
    union all
    select n.* from found l cross join lateral (
        select app_id, is_sync, lane, available_at from outbox o
        where o.state = 0 and (o.app_id, o.is_sync, o.lane) > (l.app_id, l.is_sync, l.lane)
        order by app_id, is_sync, lane, available_at limit 1) n
)
select app_id, is_sync, lane, available_at, now() as now from found

-- name: capacity
-- What the workers can take, and what is on its way to them. One notion of capacity for sync and async rows.
select (select count(*) from outbox where state = 1) as published,
       (select count(*) from outbox where state = 2) as running,
       coalesce((select sum(threads) from workers where draining_at is null), 0)::int as slots,
       coalesce((select sum(run_ms * threads) / nullif(sum(threads), 0) from workers
                 where draining_at is null and run_ms > 0), 0)::float8 as run_ms

-- name: claim
-- PENDING -> PUBLISHED for up to %(limit)s rows, at most %(share)s of a lane, lanes in the order given (fairness is the
-- caller's rotation), up to %(bytes)s of payload but always one row.
-- The floor keeps the scan off the dead entries of rows that have left (0.4 ms instead of 19 ms under 300,000 of them).
-- pick is MATERIALIZED: inlined, the planner may re-run it and lock more rows than the limit (PostgreSQL bug 15715).
-- The update finds its rows by ctid: they are locked, and no statistics can turn that into a walk over the table.
-- A row with an order key waits for every earlier row of its key and for any that is in flight. A row of a limited queue
-- takes one of the free slots of the queue (of a queue that lost its limit, or its consumer while the row ran, as many as it
-- takes rows); both promises are kept by unique indexes when two relays claim at once.
with lanes as (
    select l.*, case when l.lane <> 0 then array(
               select generate_series(1, coalesce((select t.concurrency from queue_triggers t where t.queue_id = l.lane), %(share)s::int))
               except select u.queue_slot from outbox u where u.queue_id = l.lane and u.state in (1, 2)) end as free_slots
    from unnest(%(app_ids)s::int[], %(is_sync)s::boolean[], %(lanes)s::int[], %(floors)s::timestamptz[]) with ordinality
         as l (app_id, is_sync, lane, floor, position)
    join apps a on a.id = l.app_id and a.paused_at is null
    where l.lane = 0 or %(with_restricted)s
), pick as materialized (
    select j.row_at, sum(j.payload_bytes) over (order by l.position, j.available_at, j.seq) - j.payload_bytes as bytes_before,
           row_number() over (order by l.position, j.available_at, j.seq) as place,
           l.free_slots[row_number() over (partition by l.position order by j.available_at, j.seq)] as slot
    from lanes l
    cross join lateral (
        select o.ctid as row_at, o.payload_bytes, o.available_at, o.seq from outbox o
        where o.state = 0 and o.app_id = l.app_id and o.is_sync = l.is_sync and o.lane = l.lane
          and o.available_at >= l.floor and o.available_at <= now()
          and (o.reply_deadline is null or o.reply_deadline > now())
          and (o.order_key is null or (%(with_restricted)s and not exists (
                select from outbox e
                where e.app_id = o.app_id and e.order_key = o.order_key and e.queue_id is not distinct from o.queue_id
                  and e.id <> o.id and (e.state in (1, 2) or e.seq < o.seq))))
        order by o.available_at, o.seq
        limit least(%(share)s, cardinality(l.free_slots))
        for update skip locked
    ) j
)
update outbox o
set state = 1, token = new_token(), lease_until = now() + %(lease)s::interval, queue_slot = pick.slot
from pick
where o.ctid = pick.row_at and pick.place <= %(limit)s and (pick.bytes_before < %(bytes)s or pick.place = 1)
returning o.id, o.token, o.app_id, o.script_id, o.is_sync, o.lane, o.is_suspect,
          o.order_key is not null or o.queue_slot is not null as is_restricted,
          o.payload_bytes, o.available_at, o.seq, set_config('synchronous_commit', 'off', true) as commit_mode

-- name: next_event
-- When something falls due next: a pending row of the lanes given, or a lease.
select least(
    (select min(x.available_at)
     from unnest(%(app_ids)s::int[], %(is_sync)s::boolean[], %(lanes)s::int[], %(floors)s::timestamptz[])
          as l (app_id, is_sync, lane, floor)
     join apps a on a.id = l.app_id and a.paused_at is null
     cross join lateral (select available_at from outbox o
        where o.state = 0 and o.app_id = l.app_id and o.is_sync = l.is_sync and o.lane = l.lane and o.available_at >= l.floor
        order by o.available_at limit 1) x),
    (select min(lease_until) from outbox where state in (1, 2)),
    (select min(next_at) from cron_triggers where is_on),
    (select min(reply_deadline) from outbox where is_sync)
) as at, now() as now

-- name: unpublish
-- A publish that failed: back by token, nothing spent.
update outbox o
set state = 0, token = new_token(), lease_until = null, available_at = now()
from unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) as x (id, token)
where o.id = x.id and o.token = x.token and o.state = 1

-- name: published
-- What a starting relay publishes again under the tokens it has: a duplicate dies at begin.
select id, token, app_id, script_id, is_sync, lane, is_suspect,
       order_key is not null or queue_slot is not null as is_restricted, payload_bytes, available_at, seq
from outbox where state = 1 order by available_at, seq limit %(limit)s

-- name: reset_published
-- Redis lost its memory: everything on its way is pending again, under new tokens.
with picked as materialized (
    select ctid as row_at from outbox where state = 1 limit %(limit)s for update skip locked
)
update outbox o
set state = 0, token = new_token(), lease_until = null, available_at = now()
from picked where o.ctid = picked.row_at
returning o.id, set_config('synchronous_commit', 'off', true) as commit_mode

-- name: lapsed
-- Publish leases that ended: look where the message is before taking the row back.
select id, token from outbox where state = 1 and lease_until < now() order by lease_until limit %(limit)s

-- name: extend_publish_lease
-- Still in its list, behind slow scripts: publishing it again would only double the list.
update outbox o set lease_until = now() + %(lease)s::interval
from unnest(%(ids)s::uuid[], %(tokens)s::bigint[]) as x (id, token)
where o.id = x.id and o.token = x.token and o.state = 1
returning o.id, set_config('synchronous_commit', 'off', true) as commit_mode

-- name: orphaned
-- Running rows whose worker process no longer beats, or is unknown. Dead at %(dead)s without a beat: a process that
-- holds work beats every 5 s, and begin itself writes the beat.
select o.id, o.token from outbox o left join workers w on w.id = o.worker_id
where o.state = 2 and (w.beat_at is null or w.beat_at < now() - %(dead)s::interval)
limit %(limit)s for update of o skip locked

-- name: overdue
-- Runs past their hard deadline although their worker beats: its watchdog should have ended them long ago.
select o.id, o.token from outbox o where o.state = 2 and o.lease_until < now()
order by o.lease_until limit %(limit)s for update skip locked

-- name: unanswerable
-- Sync rows that were not begun before their caller was answered 504: settled as failed, never run.
with picked as materialized (
    select id from outbox where is_sync and state in (0, 1) and reply_deadline < now()
    order by reply_deadline limit %(limit)s for update skip locked
), gone as (
    delete from outbox o using picked where o.id = picked.id returning o
)
select record_unrun(array_agg(o), 'failed', %(error)s) as count from gone having count(*) > 0

-- name: forget_dead_workers
-- Processes that never said goodbye and hold nothing.
delete from workers w
where w.beat_at < now() - %(age)s::interval and not exists (select from outbox o where o.worker_id = w.id and o.state = 2)

-- name: sweep_keys
-- See kv_sweep.
select kv_sweep(%(limit)s)

-- name: compact_usage
-- See kv_compact_usage.
select kv_compact_usage()
