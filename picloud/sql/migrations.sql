-- Statements of picloud/migrations.py. None names a session setting or a session lock: they go through
-- PgBouncer in transaction mode.

-- name: try_lock
-- The lock of everyone who migrates this database; released with the transaction. Asked for, never waited for:
-- a waiter would hold a snapshot, and CREATE INDEX CONCURRENTLY in the holder waits for that snapshot (a deadlock).
select pg_try_advisory_xact_lock(%(key)s)

-- name: keep_guard_open
-- The transaction that holds the lock is idle while the migrations run beside it.
set local idle_in_transaction_session_timeout = 0

-- name: create_ledger
create table if not exists schema_migrations (
    version     integer primary key,
    name        text not null,
    sha256      bytea not null,
    applied_at  timestamptz not null default now()
)

-- name: has_ledger
select to_regclass('schema_migrations') is not null

-- name: applied
select version, name, sha256, applied_at from schema_migrations order by version

-- name: record
insert into schema_migrations (version, name, sha256) values (%(version)s, %(name)s, %(sha256)s)

-- name: limit_waiting
-- A migration that waits for a lock makes every later statement on that table wait behind it.
select set_config('lock_timeout', %(lock_timeout)s, true), set_config('statement_timeout', %(statement_timeout)s, true)
