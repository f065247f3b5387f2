-- Principals as admins manage them: users and services, their roles and passwords; members of apps; the first admin.

-- name: hold_people
-- One change of roles, passwords' owners and the first admin at a time: "is there another owner?" must still be true at commit.
select pg_advisory_xact_lock(7304)

-- name: people
-- users ls (and, with name, users show), by name; `after` is the name the last page ended with. What routes run as
-- when nobody is known, an app itself, is no user.
select p.id, p.kind, p.name, p.role, p.created_at, p.disabled_at, w.principal_id is not null as has_password,
       coalesce(m.apps, '{}') as apps
from principals p
left join passwords w on w.principal_id = p.id
left join lateral (
    select jsonb_object_agg(a.name, m.role order by a.name) as apps
    from app_members m join apps a on a.id = m.app_id
    where m.principal_id = p.id) m on true
where p.kind <> 'app'
  and (%(name)s::text is null or p.name = %(name)s)
  and (%(after)s::text is null or p.name > %(after)s)
order by p.name
limit %(limit)s

-- name: insert_principal
insert into principals (kind, name, role) values (%(kind)s, %(name)s, %(role)s)
on conflict (name) do nothing
returning id

-- name: actor
-- What the caller is by now: its role may have changed since it was asked who it is. 0 is whoever runs this machine.
select role from principals where id = %(id)s and disabled_at is null

-- name: change_principal
update principals
set role = coalesce(%(role)s, role),
    disabled_at = case when %(disabled)s::boolean is null then disabled_at when %(disabled)s then coalesce(disabled_at, now()) end
where id = %(id)s

-- name: other_owners
-- Enabled owners besides this one. Who can sign in must not be the last who can: of others only those count who can, too.
select count(*) from principals p
where role = 'owner' and disabled_at is null and id <> %(id)s
  and (not %(signs_in)s or exists (select from passwords w where w.principal_id = p.id))

-- name: has_waiting_rows
-- Rows that would run as this principal. Without an index: removing a principal is rare, and the outbox holds what waits only.
select exists (select from outbox where principal_id = %(id)s)

-- name: delete_principal
delete from principals where id = %(id)s

-- name: set_password
insert into passwords (principal_id, hash) values (%(id)s, %(hash)s)
on conflict (principal_id) do update set hash = excluded.hash, changed_at = now()

-- name: upgrade_password
-- The same password under today's parameters; not if it was changed in between.
update passwords set hash = %(hash)s where principal_id = %(id)s and hash = %(before)s

-- name: password
-- Of a user who may sign in; no row for everybody else.
select p.id, p.kind, p.name, p.role, w.hash
from principals p join passwords w on w.principal_id = p.id
where p.name = %(name)s and p.disabled_at is null

-- name: same_login
-- Is this still their password, and they still somebody? Neither changes before the transaction ends.
select p.id from principals p join passwords w on w.principal_id = p.id
where p.id = %(id)s and w.hash = %(hash)s and p.disabled_at is null
for share

-- name: has_admin
-- Somebody who can sign in and manage others.
select exists (
    select from principals p join passwords w on w.principal_id = p.id
    where p.kind = 'user' and p.role in ('admin', 'owner') and p.disabled_at is null) as has_admin

-- name: put_setup_link
-- The link that was there before is worth nothing from now on.
insert into setup_links (secret_hash, expires_at) values (%(hash)s, now() + %(valid_for)s)
on conflict (only_one) do update set secret_hash = excluded.secret_hash, expires_at = excluded.expires_at

-- name: setup_link
select secret_hash from setup_links where expires_at > now()

-- name: delete_setup_link
delete from setup_links

-- name: members
-- members ls (and, with name, one of them), by name.
select p.name, p.kind, m.role, m.added_at, p.disabled_at
from app_members m join principals p on p.id = m.principal_id
where m.app_id = %(app_id)s
  and (%(name)s::text is null or p.name = %(name)s)
  and (%(after)s::text is null or p.name > %(after)s)
order by p.name
limit %(limit)s

-- name: put_member
insert into app_members (app_id, principal_id, role) values (%(app_id)s, %(principal_id)s, %(role)s)
on conflict (app_id, principal_id) do update set role = excluded.role

-- name: delete_member
delete from app_members where app_id = %(app_id)s and principal_id = %(principal_id)s
