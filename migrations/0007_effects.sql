-- The end of a run with effects: everything it read is still so, then everything it did happens, or nothing.

-- Settles runs and applies the effects of those that completed, in one transaction. First every key that any run of the
-- batch names is locked, read or written, present or absent, in one order: row locks cannot hold an absent key. Then run by run:
--   somebody else owns the row         -> lost (or already), its effects are discarded
--   a key it read has another version  -> conflict: nothing of it is applied, its row stays, the worker runs it again;
--                                         also a run that failed: it may have failed for what is no longer so
--   else                               -> its writes, messages, mails and invocations are written, its row goes
-- The caller gives the runs in an order in which none read a key that an earlier one wrote, unless p_is_chain: then each
-- run has read through the writes of those before it, so that all commit or none; their reads name only what was read
-- from the database.
--
-- verdict: as complete_executions_v1, or conflict. fired: rows were written that the relay should look at.
create function commit_executions_v1(
    p_runs run_end[], p_data bytea, p_reads kv_read[], p_writes kv_write[], p_sent sent[], p_is_chain boolean
) returns table (id uuid, verdict text, reply_to text, is_abandoned boolean, freed_slot boolean, fired boolean)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_owned uuid[];
    v_conflicting uuid[];
    v_applied uuid[];
    v_writes kv_write[];
    v_sent sent[];
    v_fired integer := 0;
begin
    -- Whoever removes an app locks this table first: asked for later, while rows are held, it would be a deadlock.
    lock table outbox in row exclusive mode;
    perform kv_lock(p_reads, p_writes);
    -- In statements of their own, so that each sees what was committed before its locks were granted.
    perform from unnest(p_runs) r
    cross join lateral (select from outbox o where o.id = r.id and o.token = r.token limit 1 for update) locked;

    select coalesce(array_agg(r.id), '{}') into v_owned
    from unnest(p_runs) r
    cross join lateral (select from outbox o where o.id = r.id and o.token = r.token limit 1) mine;

    select coalesce(array_agg(distinct r.run), '{}') into v_conflicting
    from unnest(p_reads) r
    left join lateral (
        select e.version from kv_entries e
        where e.app_id = r.app_id and e.collection = r.collection and e.key = r.key limit 1) e on true
    where coalesce(e.version, 0) <> r.version and r.run = any(v_owned);
    if p_is_chain and (v_conflicting <> '{}' or cardinality(v_owned) < cardinality(p_runs)) then
        v_conflicting := v_owned;
    end if;

    select coalesce(array_agg(r.id), '{}') into v_applied
    from unnest(p_runs) r
    where r.outcome = 'completed' and r.id = any(v_owned) and r.id <> all(v_conflicting);
    select array_agg(w) into v_writes from unnest(p_writes) w where w.run = any(v_applied);
    if v_writes is not null then
        v_fired := kv_apply(v_writes, p_data);
    end if;
    select array_agg(s) into v_sent from unnest(p_sent) s where s.cause = any(v_applied);
    if v_sent is not null then
        v_fired := v_fired + send_rows(v_sent, p_data);
    end if;

    return query
    select c.id, c.verdict, c.reply_to, c.is_abandoned, c.freed_slot, c.fired or v_fired > 0
    from complete_executions_v1(array(select r from unnest(p_runs) r where r.id <> all(v_conflicting)), p_data) c
    union all
    select each.id, 'conflict', null, false, false, false from unnest(v_conflicting) as each (id);
end
$$;
