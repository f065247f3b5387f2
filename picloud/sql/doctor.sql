-- Statements of picloud/doctor.py: read only.

-- name: server
select current_setting('server_version_num')::integer, current_setting('server_version'), clock_timestamp(),
       current_setting('max_connections')::integer
           - current_setting('superuser_reserved_connections')::integer
           - coalesce(current_setting('reserved_connections', true), '0')::integer

-- name: fleet
-- What the worker processes may open at most: one connection each for begin and heartbeat, one for the
-- flusher, and one for each thread that reads keys.
select count(*)::integer, coalesce(sum(2 + threads), 0)::integer from workers
