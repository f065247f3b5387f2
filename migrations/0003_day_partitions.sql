-- History lives in day partitions: made ahead, dropped behind, never deleted row by row.

-- Makes the partitions of one day where they are missing. A DEFAULT partition catches what comes when none was made in
-- time, so a missed rotation is no outage; a day whose rows are there already stays in it.
create function ensure_day_partitions(p_day date) returns void language plpgsql as $$
declare
    parent text;
begin
    foreach parent in array array['payloads', 'executions', 'attempts', 'execution_logs', 'abandoned_executions'] loop
        if to_regclass(format('%s_%s', parent, to_char(p_day, 'YYYYMMDD'))) is null then
            begin
                execute format('create table %I partition of %I for values from (%L) to (%L)',
                               parent || '_' || to_char(p_day, 'YYYYMMDD'), parent, p_day, p_day + 1);
            exception when check_violation then
                raise notice 'partition of % for % not made: its rows are in the default partition', parent, p_day;
            end;
        end if;
    end loop;
end
$$;

-- The days that have partitions, with the bytes they take; serves retention by age and by size.
create view history_days as
select parent.relname as table_name, to_date(right(child.relname, 8), 'YYYYMMDD') as day, child.relname as partition_name,
       pg_total_relation_size(child.oid) as bytes
from pg_inherits i
join pg_class parent on parent.oid = i.inhparent
join pg_class child on child.oid = i.inhrelid
where parent.relname in ('payloads', 'executions', 'attempts', 'execution_logs', 'abandoned_executions')
  and child.relname ~ '_[0-9]{8}$';

-- Drops one day of one table and enters what it held into the books, in the caller's transaction. Payloads, attempts and
-- logs of rows that still live (delayed, paused, in a long back-off) are carried to today first: nothing accepted is lost.
create function drop_history_day(p_table text, p_day date) returns void language plpgsql as $$
declare
    partition_name text := p_table || '_' || to_char(p_day, 'YYYYMMDD');
begin
    -- Nobody may add to the day between counting it and dropping it.
    execute format('lock table %I in access exclusive mode', partition_name);
    if p_table = 'payloads' then
        insert into payloads (id, day, app_id, is_copy, event, body)
        select p.id, current_date, p.app_id, true, p.event, p.body
        from outbox o join payloads p on p.id = o.id and p.day = o.payload_day
        where o.payload_day = p_day
        on conflict (id, day) do nothing;
        update outbox set payload_day = current_date where payload_day = p_day;
        execute format('update book_totals set total = total + (select count(*) from %I where not is_copy) where entry = ''accepted''',
                       partition_name);
    elsif p_table = 'executions' then
        execute format('update book_totals b set total = b.total + c.n from (
                            select case status when ''abandoned'' then ''failed'' else status end as entry, count(*) as n
                            from %I group by 1) c
                        where b.entry = c.entry', partition_name);
    elsif p_table = 'attempts' then
        insert into attempts (execution_id, attempt, started_at, finished_at, error)
        select a.execution_id, a.attempt, a.started_at, a.finished_at, a.error
        from attempts a join outbox o on o.id = a.execution_id where a.day = p_day;
    elsif p_table = 'execution_logs' then
        insert into execution_logs (execution_id, app_id, attempt, written_at, lines)
        select l.execution_id, l.app_id, l.attempt, l.written_at, l.lines
        from execution_logs l join outbox o on o.id = l.execution_id where l.day = p_day;
    end if;
    execute format('drop table %I', partition_name);
end
$$;

do $$ begin perform ensure_day_partitions(current_date + n) from generate_series(-1, 2) n; end $$;
