-- What the data plane reads to find the script of a request, and the answers it reads back.

-- name: app
-- One app and its routes, in one snapshot: the revision read here is the one the accept statement compares, so
-- routes newer than their revision could send a request to a script that was just replaced.
select a.id, a.revision, a.paused_at is not null as is_paused,
       r.id as route_id, r.method, r.path, r.script_id, r.dispatch_mode = 'sync' as is_sync, r.auth, r.principal_id, s.timeout_ms
from apps a
left join (routes r join scripts s on s.id = r.script_id and s.deleted_at is null) on r.app_id = a.id
where a.name = %(name)s
order by r.id

-- name: hosts
-- The names of all apps and the domains mapped to them: what decides, without another query, that a host or an
-- app is unknown.
select a.name, d.domain
from apps a left join domains d on d.app_id = a.id

-- name: answers
-- How these executions ended: read by those who wait for them when Redis may have lost their answers.
-- A run that ended after its caller's deadline, or whose inbox had gone, is 'abandoned' but keeps its result.
select id, status, result_kind, result, http_status, http_headers, error
from executions
where id = any(%(ids)s)
