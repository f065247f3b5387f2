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

-- name: insert_versions
-- Every draft as a new version that is current from now on, in one statement however many there are; a draft without an id
-- is a new script. The number goes on from the highest there ever was, also after a rollback: a version never changes its
-- meaning.
with wanted as materialized (
    select * from unnest(%(ids)s::int[], %(names)s::text[], %(sources)s::text[], %(sha256s)s::bytea[], %(limits)s::text[],
                         %(timeouts_ms)s::int[]) as w (id, name, source, sha256, limits, timeout_ms)
), made as (
    insert into scripts (app_id, name, current_version, timeout_ms)
    select %(app_id)s, name, 1, timeout_ms from wanted where id is null
    returning id, name
), numbered as materialized (
    select coalesce(w.id, m.id) as script_id, w.id is null as is_new, w.source, w.sha256, w.limits, w.timeout_ms,
           (select coalesce(max(v.version), 0) + 1 from script_versions v where v.script_id = w.id) as version
    from wanted w left join made m on m.name = w.name and w.id is null
), moved as (
    update scripts s set current_version = n.version, timeout_ms = n.timeout_ms
    from numbered n where s.id = n.script_id and not n.is_new
)
insert into script_versions (script_id, version, source, sha256, limits, created_by)
select script_id, version, source, sha256, limits, %(principal_id)s from numbered

-- name: delete_scripts
-- Kept while history names them, for rows that still wait for them, and for a release that is gone back to.
update scripts set deleted_at = now() where id = any(%(script_ids)s)

-- name: point_to_versions
-- A rollback: scripts run versions they had before; one that was removed since is there again.
update scripts s set current_version = w.version, timeout_ms = w.timeout_ms, deleted_at = null
from unnest(%(ids)s::int[], %(versions)s::int[], %(timeouts_ms)s::int[]) as w (id, version, timeout_ms)
where s.id = w.id

-- name: hand_over_routes
-- What ran a script runs another one of its name.
update routes r set script_id = p.new_id
from unnest(%(old_ids)s::int[], %(new_ids)s::int[]) as p (old_id, new_id) where r.script_id = p.old_id

-- name: hand_over_triggers
update triggers t set script_id = p.new_id
from unnest(%(old_ids)s::int[], %(new_ids)s::int[]) as p (old_id, new_id) where t.script_id = p.old_id

-- name: current_sources
-- What a deploy shows the difference to.
select s.name, v.source
from scripts s join script_versions v on v.script_id = s.id and v.version = s.current_version
where s.id = any(%(script_ids)s)

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
