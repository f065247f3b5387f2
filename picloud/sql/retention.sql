-- Days made ahead and dropped behind. See migrations/0003_day_partitions.sql for the functions.

-- name: make_days
-- One relay at a time: two would meet in CREATE TABLE.
select case when pg_try_advisory_xact_lock(7301) then
    (select count(*) from (select ensure_day_partitions(current_date + n) from generate_series(0, 2) n) made) end

-- name: expired_day
-- The oldest day any table may lose by age, or by bytes when history as a whole is over its limit; today and yesterday
-- are never dropped by size.
with sized as (
    select sum(bytes) as total from history_days
), candidates as (
    select d.table_name, d.day from history_days d, sized
    where d.day < current_date - case when d.table_name = 'abandoned_executions' then %(abandoned_days)s::int else %(history_days)s::int end
       -- Abandoned runs are kept by age alone: a day that drop_day leaves behind would be the oldest for ever.
       or (sized.total > %(history_bytes)s and d.day < current_date - 1 and d.table_name <> 'abandoned_executions')
)
select min(day) from candidates

-- name: drop_day
select drop_history_day(d.table_name, d.day) from history_days d
where d.day = %(day)s
  and (d.table_name <> 'abandoned_executions' or d.day < current_date - %(abandoned_days)s::int)
order by d.table_name

-- name: lock
-- One relay at a time does retention.
select pg_try_advisory_xact_lock(7302)

-- name: forget_keys
delete from idempotency_keys where (app_id, key) in (
    select app_id, key from idempotency_keys where accepted_at < now() - interval '24 hours' order by accepted_at limit 5000)

-- name: forget_dead_letters
delete from dead_letters where id in (
    select id from dead_letters where died_at < now() - %(days)s * interval '1 day' order by died_at limit 1000)

-- name: forget_audit_log
delete from audit_log where id in (
    select id from audit_log where at < now() - %(days)s * interval '1 day' order by at limit 5000)

-- name: forget_sessions
-- Those that are over: picloud.control.sessions says when.
delete from sessions where id in (
    select id from sessions where expires_at < now() or last_used_at < now() - interval '7 days' order by expires_at limit 1000)

-- name: forget_login_failures
-- Counts that a new attempt would begin anew; addresses from which somebody has signed in are known for a month.
delete from login_failures
where last_at < now() - case when starts_with(subject, 'known:') then interval '30 days' else interval '1 day' end

-- name: forget_setup_link
delete from setup_links where expires_at < now()
