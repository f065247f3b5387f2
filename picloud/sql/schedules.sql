-- The clock that fires: cron triggers that are due.

-- name: clock
-- Whether anything is due, by PostgreSQL's clock.
select now() as now, (select created_at from installation) as made_at,
       exists (select from cron_triggers c where c.is_on and c.next_at <= now()) as is_due

-- name: due
-- Locked until their ticks are written: of several relays one fires them, the others pass them over.
select t.id, t.name, c.schedule, c.timezone, c.missed, c.next_at, now() as now
from cron_triggers c join triggers t on t.id = c.trigger_id
where c.is_on and c.next_at <= now()
order by c.next_at
limit %(limit)s
for update of c skip locked

-- name: fire
-- The rows of the ticks, and where the trigger goes on: both or neither.
with moved as (
    update cron_triggers set next_at = %(next_at)s, fired_at = case when cardinality(%(ids)s::uuid[]) > 0 then now() else fired_at end
    where trigger_id = %(trigger_id)s
)
select write_rows(array_agg(row_of_trigger(t, tick.id, tick.event, null, null, null, 0::smallint) order by tick.ordinality))
from triggers t, unnest(%(ids)s::uuid[], %(events)s::bytea[]) with ordinality as tick (id, event, ordinality)
where t.id = %(trigger_id)s
having count(*) > 0
