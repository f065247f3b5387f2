-- Dead letters as a tool: the same error is known again, letters are found by what is known of them, and replayed where
-- they belong.

-- What makes two errors the same one: script, code, place, and the message without what differs from one event to the
-- next (ids, numbers, quoted values). One function, naming nothing of ours: the column below is computed again when a
-- dump is restored, under an empty search path. It fails for nothing a script can write: a letter that cannot be stored
-- could never be settled. What is no JSON of ours is the same as itself.
create function error_fingerprint(p_script integer, p_error bytea) returns text language plpgsql immutable as $$
declare
    v_error json;
    v_message text;
begin
    -- Escapes that text cannot hold.
    v_error := regexp_replace(convert_from(p_error, 'UTF8'), '\\u(0000|d[89a-f][0-9a-f]{2})', '', 'gi')::json;
    v_message := left(v_error ->> 'message', 2000);
    v_message := regexp_replace(v_message, '"[^"]*"|`[^`]*`|(?<!\w)''[^'']*''(?!\w)', '<value>', 'g');
    v_message := regexp_replace(v_message, '\m[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\M', '<id>', 'gi');
    v_message := regexp_replace(v_message, '\m(?=[a-f]*[0-9])[0-9a-f]{8,}\M', '<id>', 'gi');
    v_message := regexp_replace(v_message, '[0-9]+([.,:][0-9]+)*', '<n>', 'g');
    return left(md5(concat_ws(E'\x1f', p_script, v_error ->> 'code', v_error ->> 'reason', v_error ->> 'line',
                              v_error ->> 'column', v_message)), 12);
exception when others then
    return left(md5(p_script || ' ' || md5(p_error)), 12);
end
$$;

alter table dead_letters
    add column fingerprint text not null generated always as (error_fingerprint(script_id, last_error)) stored;
-- serves: what still needs somebody, error by error
create index dead_letters_open_by_fingerprint on dead_letters (fingerprint, died_at)
    where resolution in ('unresolved', 'handler_failed');

-- Letters by what is known of them; null: not narrowed. Open are those that can still be resolved. Inlined into the
-- statements that use it: what is not asked for costs nothing.
create function find_dead_letters(
    p_ids uuid[], p_apps integer[], p_script text, p_source text, p_trigger text, p_fingerprint text, p_resolution text,
    p_since timestamptz, p_until timestamptz, p_only_open boolean
) returns setof dead_letters language sql stable as $$
    select d.* from dead_letters d
    where (p_ids is null or d.id = any(p_ids))
      and (p_apps is null or d.app_id = any(p_apps))
      and (p_script is null or exists (select from scripts s where s.id = d.script_id and s.name = p_script))
      and (p_source is null or d.source = p_source)
      and (p_trigger is null or d.trigger_id::text = p_trigger
           or exists (select from trigger_labels l where l.source = d.source and l.id = d.trigger_id and l.label = p_trigger))
      and (p_fingerprint is null or d.fingerprint = p_fingerprint)
      and (p_resolution is null or d.resolution = p_resolution)
      and (p_since is null or d.died_at >= p_since)
      and (p_until is null or d.died_at < p_until)
      and (not p_only_open or d.resolution in ('unresolved', 'handler_failed'))
$$;

-- The row that a letter's event would be, now: of the living script of the same name, as the letter's own may have been
-- removed and deployed again since; or of the very version that failed, though its script be gone. A queued message goes
-- back to its queue, whoever consumes that today; without a consumer it waits there. A queue that is gone no longer
-- matters. Null: there is no such script.
create function replay_row(d dead_letters, p_id uuid, p_is_original boolean, p_delay_ms bigint) returns new_row
language sql stable as $$
    select row(p_id, d.app_id, found.script_id, case when p_is_original then d.script_version end, d.source,
               case when q.id is null then d.trigger_id else t.id end, coalesce(t.registered_by_principal, d.principal_id),
               d.event, d.body, coalesce(t.max_attempts, d.max_attempts), coalesce(t.backoff, d.backoff),
               coalesce(t.backoff_base_ms, d.backoff_base_ms), coalesce(t.backoff_max_ms, d.backoff_max_ms),
               coalesce(t.backoff_jitter_pct, d.backoff_jitter_pct), q.id,
               case when t.concurrency is null then 0 else q.id end,
               case when q.id is not null and t.id is null then 3 else 0 end, d.order_key, p_delay_ms,
               d.root_execution_id, d.parent_execution_id, d.trigger_depth, null, d.traceparent)::new_row
    from (select) always
    left join queues q on q.id = d.queue_id
    left join lateral (
        select t.*, u.concurrency from queue_triggers u join triggers t on t.id = u.trigger_id
        where u.queue_id = q.id and t.is_enabled) t on true
    join lateral (
        select v.script_id from script_versions v
        where p_is_original and v.script_id = d.script_id and v.version = d.script_version
        union all
        select t.script_id where not p_is_original and t.id is not null
        union all
        select living.id from scripts was
        join scripts living on living.app_id = d.app_id and living.name = was.name and living.deleted_at is null
        where not p_is_original and t.id is null and was.id = d.script_id
    ) found on true
$$;

-- Replays letters, in the order given: resolution, payloads and rows in one transaction. A letter is replayed once;
-- whoever else tries at the same time waits for its lock and finds it resolved. Those that are not open, and those
-- whose script is gone, are left out. p_apps: only letters of these apps; null: of any. p_first_at and p_interval_ms spread
-- the rows over time; null: now, all at once. An app's pause holds them back.
create function replay_dead_letters(
    p_ids uuid[], p_new_ids uuid[], p_apps integer[], p_by integer, p_is_original boolean, p_first_at timestamptz,
    p_interval_ms double precision
) returns table (id uuid, execution_id uuid, available_at timestamptz) language plpgsql as $$
#variable_conflict use_column
declare
    v_rows new_row[];
begin
    -- An app whose letters are found after this stays until the end of the transaction.
    lock table outbox in row exclusive mode;
    -- In statements of their own, and in one order for everybody: what follows sees what was committed before.
    perform hold_queue(q.id, false) from (
        select distinct q.id from dead_letters d join queues q on q.id = d.queue_id where d.id = any(p_ids) order by q.id) q;
    perform from dead_letters d where d.id = any(p_ids) order by d.id for update;

    select array_agg(made order by w.position) into v_rows
    from (
        select w.id, w.new_id, w.position, row_number() over (order by w.position) - 1 as before
        from unnest(p_ids, p_new_ids) with ordinality w (id, new_id, position)
        join dead_letters d on d.id = w.id
        where d.resolution in ('unresolved', 'handler_failed') and (p_apps is null or d.app_id = any(p_apps))) w
    join dead_letters d on d.id = w.id
    cross join lateral replay_row(d, w.new_id, p_is_original,
                                  (greatest(0, extract(epoch from coalesce(p_first_at, now()) - now()) * 1000)
                                   + w.before * coalesce(p_interval_ms, 0))::bigint) made
    where made.id is not null;
    if v_rows is null then
        return;
    end if;

    update dead_letters d
    set resolution = 'replayed', resolved_at = now(), resolved_by = p_by, resolution_note = null, replayed_as = r.id
    from unnest(v_rows) r
    join unnest(p_ids, p_new_ids) w (id, new_id) on w.new_id = r.id
    where d.id = w.id;
    perform write_rows(v_rows);
    return query
    select w.id, r.id, now() + r.delay_ms * interval '1 ms'
    from unnest(v_rows) with ordinality r
    join unnest(p_ids, p_new_ids) w (id, new_id) on w.new_id = r.id
    order by r.ordinality;
end
$$;
