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

-- name: sealing_key
-- The data key that seals what is set now.
select id, wrapped, master_key_id from data_keys where retired_at is null

-- name: insert_data_key
-- Waits for another transaction that is making one, and does nothing when that commits: both go on with the one there is.
insert into data_keys (id, wrapped, master_key_id) values (%(id)s, %(wrapped)s, %(master_key_id)s)
on conflict ((true)) where retired_at is null do nothing

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
