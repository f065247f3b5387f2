-- Accepting work: a payload and its outbox row, written together or not at all.

-- name: accept
-- One call for a whole batch; see accept_v1. Committed at once on an autocommit connection.
select id, is_fresh, accepted_at
from accept_v1(%(arrivals)s::text::arrival[], %(data)b, %(publish_lease)s::interval, %(durable)s)

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
    delete from outbox o where o.id = any(%(ids)s) and o.state = 1 and o.is_sync returning o
), recorded as materialized (
    select record_unrun(array_agg(o), 'failed', %(error)s) from gone
)
select (gone.o).id from gone, recorded

-- name: give_up_waiting
-- The client of a sync run has left: its completion will be recorded as abandoned.
update outbox set reply_deadline = least(reply_deadline, now()) where id = %(id)s and is_sync
