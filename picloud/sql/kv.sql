-- The key-value store as people and programs see it; scripts read it through services.sql.
-- Keys whose time has passed are not there, though they count as kept until they are swept.

-- name: collections
-- One page costs the keys of its own collections: the groups come in the order of the index.
select collection as name, count(*) as keys, sum(octet_length(key) + octet_length(value))::bigint as bytes
from kv_entries
where app_id = %(app_id)s and collection > %(after)s and (expires_at is null or expires_at > now())
group by collection
order by collection
limit %(limit)s

-- name: keys
-- Keys with a prefix, in the order of their bytes; the upper bound ends the scan, as no key holds U+10FFFF. With values
-- a page ends early when it has become large; `found` says how many keys there were within the limit.
select key, version, bytes, expires_at, updated_at, case when %(with_values)s then value end as value, found
from (
    select k.*, sum(bytes) over (order by key) - bytes as bytes_before, count(*) over () as found
    from (
        select key, value, version, octet_length(value) as bytes, expires_at, updated_at
        from kv_entries
        where app_id = %(app_id)s and collection = %(collection)s
          and key >= %(prefix)s and key < %(prefix)s || chr(1114111) and key > %(after)s
          and (expires_at is null or expires_at > now())
        order by key
        limit %(limit)s
    ) k
) page
where not %(with_values)s or bytes_before < %(most_bytes)s
order by key

-- name: entry
select value, version, expires_at from kv_entries
where app_id = %(app_id)s and collection = %(collection)s and key = %(key)s
  and (expires_at is null or expires_at > now())

-- name: usage
-- What the app keeps, and what of it lies under one key.
select coalesce(sum(u.keys), 0)::bigint as keys, coalesce(sum(u.bytes), 0)::bigint as bytes,
       (select octet_length(e.key) + octet_length(e.value) from kv_entries e
        where e.app_id = %(app_id)s and e.collection = %(collection)s and e.key = %(key)s) as stored_bytes
from kv_usage u where u.app_id = %(app_id)s

-- name: lock_quota
-- Until the transaction ends, before any lock of a key: nobody who holds one of those waits for this one.
select pg_advisory_xact_lock(7306, %(app_id)s)

-- name: write
-- See kv_write_v1. Without data the key is deleted.
select is_written, old_version, version, fired
from kv_write_v1(
    row(null, %(app_id)s::int, %(collection)s::text, %(key)s::text, 1, octet_length(%(data)b::bytea), %(ttl_ms)s::bigint, null)::kv_write,
    %(data)b::bytea, %(if_version)s::bigint)
