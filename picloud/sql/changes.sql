-- What changed of what somebody streams. Asked a few times a second while anybody does, for all of them at once.

-- name: executions
-- Two index look-ups an execution. An attempt's logs are written when its row leaves its state, so the state says it all.
select wanted.id, o.state, o.attempt, e.id is not null as has_ended
from unnest(%(ids)s::uuid[]) wanted(id)
left join outbox o on o.id = wanted.id
left join lateral (select id from executions where id = wanted.id limit 1) e on true
where o.id is not null or e.id is not null

-- name: last_logged
-- One look-up of an index an app. The horizon is that of `log_horizon`: what lies behind it can be read for certain.
with horizon as (
    select greatest(
        now() - interval '5 s',
        least(now() - interval '100 ms',
              (select min(xact_start) from pg_stat_activity
               where datname = current_database() and backend_xid is not null and pid <> pg_backend_pid()))) as at
)
select apps.id as app_id, l.written_at
from horizon, apps
cross join lateral (
    select written_at from execution_logs
    where app_id = apps.id and day >= (now() at time zone 'UTC')::date - 1 and written_at < horizon.at
    order by written_at desc
    limit 1
) l
