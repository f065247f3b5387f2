-- Principals and what they present: keys, sessions. A key and a session are found by the SHA-256 of what is presented, which is
-- itself stored nowhere.

-- name: ensure_operator
-- Whoever runs this machine: a service, so that the name `admin` and the first administrator stay free for a person. Two starters
-- at once make one.
insert into principals (kind, name, role) values ('service', 'local', 'owner')
on conflict (name) do nothing

-- name: operator
select id, disabled_at is not null as is_disabled from principals where name = 'local' and role in ('admin', 'owner')

-- name: insert_key
insert into api_keys (principal_id, name, key_hash, last_four, app_id, scopes, expires_at)
values (%(principal_id)s, %(name)s, %(key_hash)s, %(last_four)s, %(app_id)s, %(scopes)s::text[], %(expires_at)s)
returning id

-- name: caller_of_key
-- Who presents this key, and what it is limited to; no row when it is unknown, revoked, expired, or its principal is disabled.
-- Admins are members of every app: theirs are not read.
select p.id, p.kind, p.name, p.role, k.id as key_id, k.last_four, k.scopes, k.app_id, a.name as app,
       extract(epoch from k.expires_at - now())::float8 as expires_in_seconds,
       coalesce(k.last_used_at < now() - interval '1 minute', true) as is_use_worth_writing,
       (select revision from access_revision) as revision,
       m.app_ids, m.apps, m.roles
from api_keys k
join principals p on p.id = k.principal_id
left join apps a on a.id = k.app_id
left join lateral (
    select array_agg(m.app_id order by m.app_id) as app_ids, array_agg(a.name order by m.app_id) as apps,
           array_agg(m.role order by m.app_id) as roles
    from app_members m join apps a on a.id = m.app_id
    where m.principal_id = p.id and p.role = 'member') m on true
where k.key_hash = %(hash)s
  and k.revoked_at is null and (k.expires_at is null or k.expires_at > now()) and p.disabled_at is null

-- name: caller_of_session
-- Who presents this session's token; no row when it is unknown or over, or its principal is disabled. A session that nobody used
-- for a week is over.
select p.id, p.kind, p.name, p.role, s.id as session_id,
       extract(epoch from s.expires_at - now())::float8 as expires_in_seconds,
       s.last_used_at < now() - interval '1 minute' as is_use_worth_writing,
       (select revision from access_revision) as revision,
       m.app_ids, m.apps, m.roles
from sessions s
join principals p on p.id = s.principal_id
left join lateral (
    select array_agg(m.app_id order by m.app_id) as app_ids, array_agg(a.name order by m.app_id) as apps,
           array_agg(m.role order by m.app_id) as roles
    from app_members m join apps a on a.id = m.app_id
    where m.principal_id = p.id and p.role = 'member') m on true
where s.token_hash = %(hash)s
  and s.expires_at > now() and s.last_used_at > now() - interval '7 days' and p.disabled_at is null

-- name: touch_key
-- Once a minute at most; one that another process locks at this moment is being touched by it.
update api_keys set last_used_at = now()
where id in (select id from api_keys where id = %(id)s and coalesce(last_used_at < now() - interval '1 minute', true)
             for update skip locked)

-- name: touch_session
update sessions set last_used_at = now()
where id in (select id from sessions where id = %(id)s and last_used_at < now() - interval '1 minute' for update skip locked)

-- name: keys
-- keys ls (and, with id, keys show), newest first; `after` is the id the last page ended with. Of one principal, of one app, or all.
select k.id, k.name, p.name as principal, k.last_four, a.name as app, k.scopes, k.created_at, k.expires_at, k.last_used_at,
       k.revoked_at
from api_keys k
join principals p on p.id = k.principal_id
left join apps a on a.id = k.app_id
where (%(id)s::int is null or k.id = %(id)s)
  and (%(principal_id)s::int is null or k.principal_id = %(principal_id)s)
  and (%(app_id)s::int is null or k.app_id = %(app_id)s)
  and (%(after)s::int is null or k.id < %(after)s)
order by k.id desc
limit %(limit)s

-- name: revoke_key
-- Effective at once: no process believes a key that it remembers without asking whether anything has changed.
update api_keys set revoked_at = coalesce(revoked_at, now()) where id = %(id)s
returning id

-- name: expiry
-- When a new key expires: when it shall, but not after the key that makes it.
select least(%(wanted)s::timestamptz, k.expires_at) as expires_at,
       coalesce(%(wanted)s::timestamptz <= now(), false) as is_over
from (select) always left join api_keys k on k.id = %(key_id)s

-- name: principal
-- A user or a service: what an app is to its own routes is nobody to give a key or a membership to.
select id, kind, name, role from principals where name = %(name)s and kind <> 'app'
