-- Secrets of apps and the data keys that seal them. Values pass here sealed only.

-- name: secret_of_run
-- What secrets::get opens. One row while the app is there, so that who asks for a secret that is not is told in which app.
select a.name as app, s.version, s.sealed, k.id as data_key_id, k.wrapped, k.master_key_id
from apps a
left join (secrets s join data_keys k on k.id = s.data_key_id) on s.app_id = a.id and s.name = %(name)s
where a.id = %(app_id)s

-- name: secrets
-- secrets ls and, with name, secrets show; `after` is the name the last page ended with.
select %(app)s::text as app, s.name, s.version, p.name as created_by, s.created_at
from secrets s
join principals p on p.id = s.created_by
where s.app_id = %(app_id)s
  and (%(name)s::text is null or s.name = %(name)s)
  and (%(after)s::text is null or s.name > %(after)s)
order by s.name
limit %(limit)s

-- name: missing_secrets
-- Which of the names a manifest requires are not set, in its order.
select w.name from unnest(%(names)s::text[]) with ordinality as w (name, place)
where not exists (select from secrets s where s.app_id = %(app_id)s and s.name = w.name)
order by w.place

-- name: sealing_key
-- The data key that seals what an app sets now.
select id, wrapped, master_key_id from data_keys where app_id = %(app_id)s

-- name: insert_data_key
insert into data_keys (id, app_id, wrapped, master_key_id) values (%(id)s, %(app_id)s, %(wrapped)s, %(master_key_id)s)

-- name: delete_data_key
delete from data_keys where app_id = %(app_id)s and id = %(id)s

-- name: first_master_key
-- Waits for another transaction that is the first, and does nothing when that commits: both go on with what it wrote.
insert into master_key (id) values (%(id)s) on conflict (only_row) do nothing

-- name: hold_master_key
-- Which master key wraps a new data key. Held to the end of the transaction: a rotation waits, and then sees the data key.
select id from master_key for share

-- name: version_of_secret
select version from secrets where app_id = %(app_id)s and name = %(name)s

-- name: put_secret
insert into secrets (app_id, name, version, sealed, data_key_id, created_by)
values (%(app_id)s, %(name)s, %(version)s, %(sealed)s, %(data_key_id)s, %(principal_id)s)
on conflict (app_id, name) do update
set version = excluded.version, sealed = excluded.sealed, data_key_id = excluded.data_key_id,
    created_by = excluded.created_by, created_at = now()

-- name: delete_secret
delete from secrets where app_id = %(app_id)s and name = %(name)s returning name

-- name: sealed_secrets
-- What a new data key of an app has to seal.
select name, version, sealed from secrets where app_id = %(app_id)s order by name

-- name: reseal_secret
-- The same value under another data key: neither the version nor who set it changes.
update secrets set sealed = %(sealed)s, data_key_id = %(data_key_id)s where app_id = %(app_id)s and name = %(name)s
