-- What /metrics shows of the platform. Asked at every scrape: each of these is an index-only look or a handful of rows.

-- name: totals
-- Rows ever accepted, by the sequence that numbers them: counting them would read the history. What was rolled back is in
-- it, and up to 32 numbers that a crash of PostgreSQL skips; `picloud doctor --prove` counts exactly.
select (select case when is_called then last_value else 0 end from outbox_seq) as accepted,
       (select count(*) from apps) as apps,
       pg_database_size(current_database()) as database_bytes

-- name: unresolved_letters
select apps.name as app, d.count
from (select app_id, count(*) as count from dead_letters where resolution = 'unresolved' group by app_id) d
join apps on apps.id = d.app_id
order by apps.name
