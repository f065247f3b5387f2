-- Rotation of the master key: which one wraps, what it wraps, and which workers have which.

-- name: master_key
select id, former from master_key

-- name: lock_master_key
-- Waits for whoever is making a data key; what comes after sees that data key.
select id, former from master_key for update

-- name: begin_with
-- An installation that has sealed nothing yet: the row is what a rotation locks.
insert into master_key (id) values (%(id)s) on conflict (only_row) do nothing

-- name: replace_master_key
update master_key set former = former || id, id = %(id)s, rotated_at = now()

-- name: data_keys
select id, wrapped, master_key_id from data_keys order by id

-- name: rewrap
update data_keys set wrapped = %(wrapped)s, master_key_id = %(master_key_id)s where id = %(id)s

-- name: data_keys_by_master_key
select master_key_id, count(*)::integer as data_keys from data_keys group by master_key_id

-- name: sealed
-- Every secret with what it takes to open it, in the order of a report.
select a.name as app, s.app_id, s.name, s.version, s.sealed, k.id as data_key_id, k.wrapped, k.master_key_id
from secrets s
join apps a on a.id = s.app_id
join data_keys k on k.id = s.data_key_id
order by a.name, s.name

-- name: tell
insert into master_key_holders (worker_id, host, pid, keys, source)
values (%(worker_id)s, %(host)s, %(pid)s, %(keys)s, %(source)s)
on conflict (worker_id) do update set keys = excluded.keys, source = excluded.source, told_at = now()

-- name: leave
delete from master_key_holders where worker_id = %(worker_id)s

-- name: forget_holders
delete from master_key_holders where worker_id = any (%(worker_ids)s)

-- name: holders
select h.worker_id, h.host, h.pid, h.keys, h.source,
       coalesce(w.beat_at > now() - interval '15 s', false) as beat_lately
from master_key_holders h
left join workers w on w.id = h.worker_id
order by h.host, h.told_at, h.pid
