-- Apps, domains, scripts and routes: what the control API and a deploy change and read.
-- Whatever changes what an app's requests meet also raises apps.revision: caches of routes check it where they insert.

-- Apps ------------------------------------------------------------------------------------------------

-- name: apps
-- apps ls (of those a caller may see) and, with name, apps show; `after` is the name the last page ended with.
select a.id, a.name, a.revision, a.paused_at is not null as paused, a.paused_at, a.created_at,
       (select count(*) from scripts s where s.app_id = a.id and s.deleted_at is null) as scripts,
       (select count(*) from routes r where r.app_id = a.id) as routes,
       (select count(*) from triggers t where t.app_id = a.id) as triggers,
       array(select d.domain from domains d where d.app_id = a.id order by d.domain) as domains, a.http_allowed
from apps a
where (%(name)s::text is null or a.name = %(name)s)
  and (%(ids)s::int[] is null or a.id = any(%(ids)s))
  and (%(after)s::text is null or a.name > %(after)s)
order by a.name
limit %(limit)s

-- name: insert_app
-- Waits for another one that makes the same app; no row when that one has committed.
insert into apps (name, created_by) values (%(name)s, %(principal_id)s)
on conflict (name) do nothing
returning id

-- name: app
select id, name, revision, paused_at is not null as paused from apps where name = %(name)s

-- name: lock_app
-- Changes of one app follow one another: each sees what the one before it left.
select id, name, revision, paused_at is not null as paused from apps where name = %(name)s for update

-- name: hold_apps
-- The other side of stop_arrivals, and before anything else: an app that is found after it stays until the end of this
-- transaction. Waiting for the app's row instead could be waiting for somebody who waits for our outbox rows.
lock table outbox in row exclusive mode

-- name: raise_revision
update apps set revision = revision + 1 where id = %(app_id)s returning revision

-- name: http_allowed
-- The private addresses its scripts may call.
select http_allowed from apps where id = %(app_id)s

-- name: set_http_allowed
update apps set http_allowed = %(entries)s where id = %(app_id)s returning id

-- name: pause_app
update apps set paused_at = coalesce(paused_at, now()) where name = %(name)s returning id

-- name: resume_app
update apps set paused_at = null where name = %(name)s returning id

-- name: limit_waiting
-- Whoever waits for a table lock makes everybody after them wait too: better to give up soon.
select set_config('lock_timeout', '3s', true)

-- name: stop_arrivals
-- Waits for every statement that is writing outbox rows and lets none begin: whoever comes next sees that the app
-- is gone. Without it a row accepted in the same moment would belong to no app and wait for ever.
lock table outbox in share row exclusive mode

-- name: cancel_rows_of_app
-- The rows of an app that is removed end as cancelled, so that the books balance.
with gone as (
    delete from outbox o where o.app_id = %(app_id)s returning o
)
select record_unrun(array_agg(o), 'cancelled', null) as count from gone having count(*) > 0

-- name: delete_app
-- Scripts, routes, domains and dead letters go with it; executions stay until they are too old.
delete from apps where id = %(app_id)s returning id

-- name: domains
select domain, created_at from domains where app_id = %(app_id)s order by domain

-- name: insert_domain
-- No row when the domain is taken, by this app or another one.
insert into domains (domain, app_id) values (%(domain)s, %(app_id)s)
on conflict (domain) do nothing
returning domain, created_at

-- name: delete_domain
delete from domains where domain = %(domain)s and app_id = %(app_id)s returning domain

-- Scripts ---------------------------------------------------------------------------------------------

-- name: scripts
-- scripts ls and, with name, scripts show: the current version of each living script.
select s.id, %(app)s::text as app, s.name, s.current_version as version, v.sha256, v.limits, s.timeout_ms,
       s.created_at, v.created_at as updated_at, p.name as updated_by,
       case when %(with_source)s then v.source end as source
from scripts s
join script_versions v on v.script_id = s.id and v.version = s.current_version
join principals p on p.id = v.created_by
where s.app_id = %(app_id)s and s.deleted_at is null
  and (%(name)s::text is null or s.name = %(name)s)
  and (%(after)s::text is null or s.name > %(after)s)
order by s.name
limit %(limit)s

-- name: insert_script
insert into scripts (app_id, name, current_version, timeout_ms) values (%(app_id)s, %(name)s, 1, %(timeout_ms)s)
returning id

-- name: insert_version
-- The number goes on from the highest there ever was, also after a rollback: a version never changes its meaning.
insert into script_versions (script_id, version, source, sha256, limits, created_by)
select %(script_id)s, coalesce(max(version), 0) + 1, %(source)s, %(sha256)s, %(limits)s, %(principal_id)s
from script_versions where script_id = %(script_id)s
returning version

-- name: set_current_version
update scripts set current_version = %(version)s, timeout_ms = %(timeout_ms)s where id = %(script_id)s

-- name: delete_script
-- Kept while history names it, and for rows that still wait for it.
update scripts set deleted_at = now() where id = %(script_id)s

-- name: versions
-- scripts versions and, with version, one of them; `after` is the version the last page ended with.
select v.version, v.sha256, v.limits, v.created_at, p.name as created_by, v.version = s.current_version as is_current,
       case when %(with_source)s then v.source end as source
from script_versions v
join scripts s on s.id = v.script_id
join principals p on p.id = v.created_by
where v.script_id = %(script_id)s
  and (%(version)s::int is null or v.version = %(version)s)
  and (%(after)s::int is null or v.version < %(after)s)
order by v.version desc
limit %(limit)s

-- name: previous_version
-- What rollback without a number goes back to.
select max(v.version) as version from script_versions v join scripts s on s.id = v.script_id
where s.id = %(script_id)s and v.version < s.current_version

-- name: waiting_rows
-- How many rows still have to run each of these scripts. A queued message follows its queue: it counts once it is in flight.
select script_id, count(*) as rows from outbox
where script_id = any(%(script_ids)s) and (queue_id is null or state in (1, 2))
group by script_id

-- Routes ----------------------------------------------------------------------------------------------

-- name: routes
-- routes ls and, with id, routes show; `after` is the id the last page ended with.
select r.id, %(app)s::text as app, r.method, r.path, s.name as script, r.dispatch_mode, r.auth, p.name as principal, r.created_at
from routes r
join scripts s on s.id = r.script_id
join principals p on p.id = r.principal_id
where r.app_id = %(app_id)s
  and (%(id)s::int is null or r.id = %(id)s)
  and (%(after)s::int is null or r.id > %(after)s)
order by r.id
limit %(limit)s

-- name: users_of_script
-- What would have nothing to run without it: routes, then triggers.
select label from (
    select 1 as place, method || ' ' || path as label from routes where script_id = %(script_id)s
    union all
    select 2, 'trigger ' || name from triggers where script_id = %(script_id)s
) x
order by place, label

-- name: insert_route
insert into routes (app_id, method, path, script_id, dispatch_mode, auth, principal_id)
values (%(app_id)s, %(method)s, %(path)s, %(script_id)s, %(dispatch_mode)s, %(auth)s, principal_of_app(%(app_id)s))
returning id

-- name: update_route
-- The route keeps its id, so that what it caused before and after belongs together.
update routes set path = %(path)s, script_id = %(script_id)s, dispatch_mode = %(dispatch_mode)s, auth = %(auth)s
where id = %(id)s

-- name: delete_route
delete from routes where id = %(id)s and app_id = %(app_id)s returning id
