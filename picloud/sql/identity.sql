-- Principals and their API keys. A key is found by its SHA-256; the key itself is stored nowhere.

-- name: ensure_admin
-- The first administrator; two starters at once make one.
insert into principals (kind, name, is_admin) values ('user', 'admin', true)
on conflict (name) do nothing

-- name: admin
select id, disabled_at is not null as is_disabled from principals where name = 'admin' and is_admin

-- name: insert_key
insert into api_keys (principal_id, name, key_hash, last_four, expires_at)
values (%(principal_id)s, %(name)s, %(key_hash)s, %(last_four)s, %(expires_at)s)
returning id

-- name: principal_of_key
-- Who presents this key; no row when it is unknown, revoked, expired, or its principal is disabled.
select p.id, p.kind, p.name, p.is_admin
from api_keys k join principals p on p.id = k.principal_id
where k.key_hash = %(key_hash)s
  and k.revoked_at is null and (k.expires_at is null or k.expires_at > now()) and p.disabled_at is null

-- name: keys
-- keys ls (and, with id, keys show), newest first; `after` is the id the last page ended with.
select k.id, k.name, p.name as principal, k.last_four, k.created_at, k.expires_at, k.revoked_at
from api_keys k join principals p on p.id = k.principal_id
where (%(id)s::int is null or k.id = %(id)s)
  and (%(after)s::int is null or k.id < %(after)s)
order by k.id desc
limit %(limit)s

-- name: revoke_key
-- Effective at once: nothing remembers a key for longer than the statement that looks it up.
update api_keys set revoked_at = coalesce(revoked_at, now()) where id = %(id)s
returning id
