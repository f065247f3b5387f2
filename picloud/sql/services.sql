-- What running scripts read: their keys, and what their app consists of.

-- name: kv_read
-- A key as it is committed now. Past its time it reads as absent, but its version stands until the sweep.
select case when expires_at is null or expires_at > now() then value end as value, version, expires_at
from kv_entries where app_id = %(app_id)s and collection = %(collection)s and key = %(key)s

-- name: kv_page
-- Living keys with a prefix, in the order of their bytes. The upper bound ends the scan: after it no key has the prefix.
select key, value, version, expires_at
from kv_entries
where app_id = %(app_id)s and collection = %(collection)s
  and key >= %(prefix)s and key < %(prefix)s || chr(1114111) and key > %(after)s
  and (expires_at is null or expires_at > now())
order by key
limit %(limit)s

-- name: kv_usage
select coalesce(sum(keys), 0)::bigint as keys, coalesce(sum(bytes), 0)::bigint as bytes from kv_usage where app_id = %(app_id)s

-- name: app_scripts
-- What `import` and functions::invoke find: the living scripts of an app at their deployed versions.
select name, id, current_version as version from scripts where app_id = %(app_id)s and deleted_at is null

-- name: app_queues
select name from queues where app_id = %(app_id)s

-- name: app_allowed
select http_allowed from apps where id = %(app_id)s

-- name: listeners
-- What changed keys, published and queued messages fire, in the order of the triggers' ids.
select t.name, t.kind, s.name as script, coalesce(k.is_prefix, p.is_prefix, false) as is_prefix,
       coalesce(k.collection, p.topic, q.name) as literal, k.ops
from triggers t
join scripts s on s.id = t.script_id
left join kv_triggers k on k.trigger_id = t.id
left join pubsub_triggers p on p.trigger_id = t.id
left join queue_triggers u on u.trigger_id = t.id
left join queues q on q.id = u.queue_id
where t.app_id = %(app_id)s and t.is_enabled and t.kind in ('kv', 'pubsub', 'queue')
order by t.id
