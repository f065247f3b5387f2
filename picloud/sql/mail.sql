-- Mail that comes in: whom an address leads to, and the rows of a mail that was taken.

-- name: find_trigger
-- A trigger of the whole address goes before the one of its local part at any domain, and does so while it is disabled:
-- its mail is nobody else's.
select t.id, e.address, t.is_enabled
from email_triggers e join triggers t on t.id = e.trigger_id
where e.address in (%(address)s, %(local_part)s)
order by e.address = %(address)s desc
limit 1

-- name: accept
-- One row for each recipient, all or none: none are written when a trigger has gone, is disabled or has another address
-- since RCPT. Triggers are held until the commit: whoever removes one waits, and sees what it has caused.
-- Sent again under the same ids nothing is written twice.
with found as materialized (
    select t as trigger, d.id, d.event, d.root, d.depth, d.place
    from unnest(%(ids)s::uuid[], %(trigger_ids)s::int[], %(addresses)s::text[], %(events)b::bytea[], %(roots)s::uuid[],
                %(depths)s::smallint[]) with ordinality as d (id, trigger_id, address, event, root, depth, place)
    join triggers t on t.id = d.trigger_id
    join email_triggers e on e.trigger_id = t.id and e.address = d.address
    where t.is_enabled
    for share of t
), rows as (
    select array_agg(row_of_trigger(f.trigger, f.id, f.event, null, f.root, null, f.depth) order by f.place) as made,
           count(*) = cardinality(%(ids)s::uuid[]) as is_whole
    from found f
)
select is_whole, case when is_whole then write_rows(made) else 0 end as written from rows
