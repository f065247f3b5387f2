-- How a run ends: one call for many runs, one transaction, no exception for any single one of them.

-- Does this outcome end the row, or does it go back to pending? The one place that decides.
-- A sync row whose script may have started is never run again; a handler of dead letters is never retried once its
-- script has ended; three crashes alone or ten lost machines end anything.
create function outcome_is_final(
    outcome text, is_sync boolean, is_handler boolean, attempt int, max_attempts int, crashes int, lost int
) returns boolean language sql immutable as $$
    select case outcome
        when 'handed_back' then false
        when 'failed' then is_sync or is_handler or attempt >= max_attempts
        when 'suspected' then is_sync
        when 'crashed' then is_sync or crashes + 1 >= 3
        when 'lost' then is_sync or lost + 1 >= 10
        else true
    end
$$;

-- What a worker says of one run that has ended. Result, headers, error and log are slices of one bytea, one after
-- another from first_byte on; null stands for none. (An array of bytea would be escaped byte by byte by the client, and
-- JSON for the rest takes twice as long to read: measured.)
-- Outcomes:   completed
--             failed          its script ended badly: tried again while attempts are left
--             rejected        trying again cannot help; reason says why (not_retryable, principal_disabled, …)
--             depth_exceeded  one hop too many: not run, not dead-lettered, visible
--             handed_back     its script never started: nothing is spent
--             crashed         its process died of it: charged, no attempt spent
--             suspected       its process died while several ran: not charged, runs alone next
--             lost            its machine was lost without evidence: not charged
create type run_end as (
    id uuid, token bigint, outcome text, reason text, result_kind text, http_status smallint, run_us bigint,
    operations bigint, delay_ms bigint, version integer,
    first_byte integer, result_bytes integer, headers_bytes integer, error_bytes integer, logs_bytes integer,
    is_handler boolean,                           -- of a dead letter
    conflicts smallint                            -- runs before this one that others overtook
);

-- The runs of a batch with their slices cut out. Inlined into the statements that use it, which pay for what they name.
create function read_run_ends(p_runs run_end[], p_data bytea)
returns table (
    id uuid, token bigint, outcome text, reason text, result_kind text, http_status smallint, run_us bigint,
    operations bigint, delay_ms bigint, version integer, conflicts smallint, result bytea, http_headers bytea, error bytea, logs bytea
) language sql immutable as $$
    select r.id, r.token, r.outcome, r.reason, r.result_kind, r.http_status, r.run_us, r.operations, r.delay_ms, r.version,
           r.conflicts, substring(p_data from r.first_byte for r.result_bytes),
           substring(p_data from r.first_byte + coalesce(r.result_bytes, 0) for r.headers_bytes),
           substring(p_data from r.first_byte + coalesce(r.result_bytes, 0) + coalesce(r.headers_bytes, 0)
                     for r.error_bytes),
           substring(p_data from r.first_byte + coalesce(r.result_bytes, 0) + coalesce(r.headers_bytes, 0)
                     + coalesce(r.error_bytes, 0) for r.logs_bytes)
    from unnest(p_runs) r
$$;

-- The status a row ends with.
create function final_status(outcome text, is_sync boolean, is_handler boolean, is_late boolean)
returns text language sql immutable as $$
    select case
        when outcome = 'completed' then case when is_late then 'abandoned' else 'completed' end
        when outcome = 'depth_exceeded' then 'depth_exceeded'
        when is_sync or is_handler then 'failed'
        else 'dead' end
$$;

-- How every function below reaches rows. By id AND token only: adding the state would let the planner choose a partial
-- index under stale statistics (measured: 5x slower). By one index probe a run: an outbox that autovacuum saw empty
-- counts as empty to the planner, which then compares every row with every run; LIMIT keeps the probe from being turned
-- into a join. Then by ctid, which is good because the row is locked. The plan is forced to be the generic one: left to
-- itself PostgreSQL plans anew for every batch size it sees, which costs ten times the execution. Without sequential
-- scans: a hundred rows by their ctid look as dear to it as the whole outbox. And without just-in-time compilation,
-- which the price of a forbidden scan would set off.

-- Puts back what is to run again: failed with attempts left, handed back, crashed, lost. Returns the ids.
create function put_back_runs(p_runs run_end[], p_data bytea) returns uuid[]
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_ids uuid[];
begin
    with ours as materialized (
        select r.*, found.row_at from read_run_ends(p_runs, p_data) r
        cross join lateral (
            select o.ctid as row_at from outbox o where o.id = r.id and o.token = r.token limit 1 for update) found
    ), put_back as (
        update outbox o
        set state = 0, token = new_token(), worker_id = null, lease_until = null, begun_at = null,
            -- Only a script that ended spends an attempt.
            attempt = o.attempt - case when r.outcome = 'failed' then 0 else 1 end,
            crashes = o.crashes + case when r.outcome = 'crashed' then 1 else 0 end,
            lost = o.lost + case when r.outcome = 'lost' then 1 else 0 end,
            is_suspect = o.is_suspect or r.outcome in ('crashed', 'suspected'),
            available_at = now() + coalesce(r.delay_ms, 0) * interval '1 ms',
            -- The queue may have got a limit meanwhile, or lost it.
            lane = case when o.queue_id is null then o.lane else coalesce((
                select q.queue_id from queue_triggers q where q.queue_id = o.queue_id and q.concurrency is not null), 0) end
        from ours r
        where o.ctid = r.row_at
          and not outcome_is_final(r.outcome, o.is_sync, o.is_dead_letter_handler, o.attempt, o.max_attempts, o.crashes, o.lost)
        returning o.id, o.attempt, r.outcome, r.error, r.run_us
    ), tried as (
        insert into attempts (execution_id, attempt, started_at, error)
        select b.id, b.attempt, now() - b.run_us * interval '1 us', b.error
        from put_back b where b.outcome = 'failed'
    )
    select array_agg(id) into v_ids from put_back;
    return coalesce(v_ids, '{}');
end
$$;

-- Writes the dead letters of the runs that end as such, before their rows go. A letter is complete in itself: event,
-- every attempt's error and log tail are copied, for they outlive their day's partition in it. Then the scripts that
-- handle them are due, in the same transaction. Returns how many of those.
create function write_dead_letters(p_runs run_end[], p_data bytea) returns integer
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_letters uuid[];
begin
    with dying as materialized (
        select o.*, r.outcome, r.reason, r.error, r.logs, r.run_us, coalesce(r.version, o.script_version) as version
        from read_run_ends(p_runs, p_data) r
        cross join lateral (select * from outbox o where o.id = r.id and o.token = r.token limit 1) o
        where outcome_is_final(r.outcome, o.is_sync, o.is_dead_letter_handler, o.attempt, o.max_attempts, o.crashes, o.lost)
          and final_status(r.outcome, o.is_sync, o.is_dead_letter_handler, false) = 'dead'
    ), died as (
        insert into dead_letters (id, app_id, script_id, script_version, source, trigger_id, principal_id, reason, event, body,
                                  last_error, attempts, root_execution_id, parent_execution_id, trigger_depth, traceparent, queue_id,
                                  order_key, max_attempts, backoff, backoff_base_ms, backoff_max_ms, backoff_jitter_pct, accepted_at)
        select d.id, d.app_id, d.script_id, d.version, d.source, d.trigger_id, d.principal_id,
               case d.outcome when 'failed' then 'retries_exhausted' when 'crashed' then 'worker_crash'
                              when 'lost' then 'worker_lost' else coalesce(d.reason, 'not_retryable') end,
               p.event, p.body, d.error, d.attempt, d.root_execution_id, d.parent_execution_id, d.trigger_depth, d.traceparent, d.queue_id,
               d.order_key, d.max_attempts, d.backoff, d.backoff_base_ms, d.backoff_max_ms, d.backoff_jitter_pct, d.accepted_at
        from dying d
        cross join lateral (select event, body from payloads p where p.id = d.id and p.day = d.payload_day limit 1) p
        returning id
    ), remembered as (
        insert into dead_letter_attempts (dead_letter_id, attempt, started_at, finished_at, error, logs)
        select a.execution_id, a.attempt, a.started_at, a.finished_at, a.error,
               (select l.lines from execution_logs l where l.execution_id = a.execution_id and l.attempt = a.attempt limit 1)
        from dying d
        cross join lateral (select * from attempts a where a.execution_id = d.id order by a.attempt limit 10000) a
        union all
        select d.id, d.attempt, coalesce(now() - d.run_us * interval '1 us', d.begun_at), now(), d.error, d.logs from dying d
    )
    select array_agg(id) into v_letters from died;
    return case when v_letters is null then 0 else write_handlers(v_letters) end;
end
$$;

-- Settles runs without effects, many in one call; see commit_executions_v1 for the others. No row matched means the lease is lost and the run's effects are discarded. Results,
-- errors and logs are bytea: a completion must never fail for what a script wrote. Runs that simply completed take one
-- statement; what the others leave behind has functions of its own, called when there are any.
--
-- verdict:    done, dead, retried, handed_back; already (this very token had committed: the COMMIT's answer was lost);
--             lost (somebody else owns the row, or it was cancelled).
-- freed_slot: another row may be waiting for this one's order key or place in its queue.
-- fired:      rows were written that the relay should look at.
create function complete_executions_v1(p_runs run_end[], p_data bytea)
returns table (id uuid, verdict text, reply_to text, is_abandoned boolean, freed_slot boolean, fired boolean)
language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
declare
    v_put_back uuid[] := '{}';
    v_handlers integer := 0;
    v_handled uuid[];
    v_succeeded uuid[];
begin
    -- Locked in a statement of its own, so that the next one begins after the locks are ours: a row that somebody changed
    -- while we waited for it (web, when its client leaves) has a new version, which the waiting statement locks but
    -- cannot see, and its run would be taken for lost.
    perform from unnest(p_runs) r
    cross join lateral (select from outbox o where o.id = r.id and o.token = r.token limit 1 for update) locked;

    if exists (select from unnest(p_runs) r where r.logs_bytes is not null) then
        insert into execution_logs (execution_id, app_id, attempt, lines)
        select r.id, o.app_id, o.attempt, r.logs
        from read_run_ends(p_runs, p_data) r
        cross join lateral (select o.app_id, o.attempt from outbox o where o.id = r.id and o.token = r.token limit 1) o
        where r.logs is not null;
    end if;
    if exists (select from unnest(p_runs) r where r.outcome <> 'completed') then
        v_put_back := put_back_runs(p_runs, p_data);
        v_handlers := write_dead_letters(p_runs, p_data);
    end if;
    if exists (select from unnest(p_runs) r where r.is_handler or r.outcome <> 'completed') then
        select array_agg(o.dead_letter_id), coalesce(array_agg(o.dead_letter_id) filter (where r.outcome = 'completed'), '{}')
        into v_handled, v_succeeded
        from unnest(p_runs) r
        cross join lateral (select o.dead_letter_id from outbox o where o.id = r.id and o.token = r.token limit 1) o
        where o.dead_letter_id is not null;
    end if;

    return query
    with runs as (
        select * from read_run_ends(p_runs, p_data)
    ), ours as materialized (
        select r.*, found.row_at from runs r
        cross join lateral (
            select o.ctid as row_at from outbox o where o.id = r.id and o.token = r.token limit 1 for update) found
    ), ended as (
        delete from outbox o using ours r where o.ctid = r.row_at
        returning o.*, r.outcome, r.result_kind, r.result, r.http_status, r.http_headers, r.error, r.run_us, r.operations,
                  r.version, r.conflicts, o.is_sync and o.reply_deadline < now() as is_late
    ), recorded as (
        insert into executions (id, app_id, script_id, script_version, source, trigger_id, principal_id, status, token, attempts, conflicts,
                                is_sync, root_execution_id, parent_execution_id, trigger_depth, worker_id, accepted_at, started_at,
                                run_us, operations, result_kind, result, http_status, http_headers, error)
        select e.id, e.app_id, e.script_id, coalesce(e.version, e.script_version), e.source, e.trigger_id, e.principal_id,
               final_status(e.outcome, e.is_sync, e.is_dead_letter_handler, e.is_late), e.token, e.attempt,
               coalesce(e.conflicts, 0), e.is_sync, e.root_execution_id, e.parent_execution_id, e.trigger_depth, e.worker_id, e.accepted_at,
               coalesce(now() - e.run_us * interval '1 us', e.begun_at), e.run_us, e.operations, e.result_kind, e.result,
               e.http_status, e.http_headers, e.error
        from ended e
    ), left_alone as (
        insert into abandoned_executions (execution_id, app_id, script_id, reason)
        select e.id, e.app_id, e.script_id, 'deadline_passed' from ended e where e.is_late
    )
    select r.id,
           case when e.id is not null then
                    case final_status(e.outcome, e.is_sync, e.is_dead_letter_handler, e.is_late) when 'dead' then 'dead' else 'done' end
                when r.id = any(v_put_back) then case r.outcome when 'handed_back' then 'handed_back' else 'retried' end
                -- A scalar subquery on purpose: EXISTS may be planned as one hash over all of executions.
                when (select true from executions x where x.id = r.id and x.token = r.token limit 1) then 'already'
                else 'lost' end,
           e.reply_to,
           coalesce(e.is_late, false),
           -- A row that only goes back keeps its key but not its slot.
           coalesce(e.order_key is not null or e.queue_slot is not null, r.id = any(v_put_back)),
           v_handlers > 0
    from runs r left join ended e on e.id = r.id;

    if v_handled is not null then
        perform resolve_handled(v_handled, v_succeeded);
    end if;
end
$$;

-- Records how rows ended that were deleted without a run of theirs: cancelled, withdrawn, never begun in time. The record
-- gets a token of its own: with the row's, a completion that comes later would take it for its own. Letters whose last
-- handler is among them are resolved.
create function record_unrun(p_rows outbox[], p_status text, p_error bytea) returns integer language plpgsql as $$
#variable_conflict use_column
declare
    v_handled uuid[];
begin
    insert into executions (id, app_id, script_id, script_version, source, trigger_id, principal_id, status, token, attempts, is_sync,
                            root_execution_id, parent_execution_id, trigger_depth, worker_id, accepted_at, started_at, error)
    select o.id, o.app_id, o.script_id, o.script_version, o.source, o.trigger_id, o.principal_id, p_status, new_token(), o.attempt,
           o.is_sync, o.root_execution_id, o.parent_execution_id, o.trigger_depth, o.worker_id, o.accepted_at, o.begun_at, p_error
    from unnest(p_rows) o;
    v_handled := array(select o.dead_letter_id from unnest(p_rows) o where o.dead_letter_id is not null);
    if v_handled <> '{}' then
        perform resolve_handled(v_handled, '{}');
    end if;
    return coalesce(cardinality(p_rows), 0);
end
$$;

-- Takes ownership of everything one fetch brought, in one call. Each row is fenced by a new token; stale copies and
-- duplicates match nothing. The worker's heartbeat is written first, in the same call, unless it was written a moment ago
-- (p_beats false): a process that was idle for an hour would otherwise be taken for dead between its begin and its next
-- beat. A process that is on no list begins nothing. A sync row whose caller was answered
-- already is not begun; nor is anything by a worker that drains, or is older than the installation accepts. Payloads above the inline size
-- are fetched by the thread that runs them. The commit is asynchronous: a crash only reverts to what the relay repairs.
-- A function, because its plan is kept: as a statement of its own it took longer to plan than to run.
create function begin_executions_v1(
    p_worker uuid, p_host text, p_pid int, p_parent uuid, p_threads smallint, p_takes_sync boolean, p_release text,
    p_protocol smallint, p_run_ms real, p_beats boolean, p_ids uuid[], p_tokens bigint[], p_grace interval,
    p_inline_bytes int
) returns table (
    id uuid, token bigint, app_id int, app_name text, script_id int, script_name text, version int, timeout_ms int,
    source text, trigger_id int, attempt smallint, max_attempts smallint, backoff text, backoff_base_ms int,
    backoff_max_ms int, backoff_jitter_pct smallint, is_sync boolean, reply_to text, is_suspect boolean,
    root_execution_id uuid, trigger_depth smallint, payload_day date, payload_bytes int, principal_id int,
    principal_name text, is_principal_disabled boolean, is_handler boolean, app_revision bigint, event bytea, body bytea,
    traceparent text, parent_execution_id uuid
) language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off set jit = off as $$
#variable_conflict use_column
begin
    perform set_config('synchronous_commit', 'off', true);
    if p_beats then
        insert into workers as w (id, host, pid, parent_id, threads, takes_sync, release, protocol, run_ms)
        values (p_worker, p_host, p_pid, p_parent, p_threads, p_takes_sync, p_release, p_protocol, p_run_ms)
        on conflict (id) do update set beat_at = now(), run_ms = excluded.run_ms;
    end if;

    return query
    with ours as materialized (
        -- One index probe a row; see complete_executions_v1.
        select found.row_at, s.name as script_name, s.current_version,
               -- Mail is sent by us, at the pace of a mail server.
               case when found.source = 'send_email' then 60000 else s.timeout_ms end as timeout_ms
        from unnest(p_ids, p_tokens) as x (id, token)
        cross join lateral (
            select o.ctid as row_at, o.script_id, o.source from outbox o
            where o.id = x.id and o.token = x.token and (o.reply_deadline is null or o.reply_deadline > now())
            limit 1 for update) found
        cross join lateral (select s.name, s.current_version, s.timeout_ms from scripts s where s.id = found.script_id limit 1) s
        where (select i.oldest_worker_protocol from installation i) <= p_protocol
          and (select w.draining_at is null from workers w where w.id = p_worker)
    ), begun as (
        update outbox o
        set state = 2, token = new_token(), attempt = o.attempt + 1, worker_id = p_worker, begun_at = now(),
            lease_until = now() + x.timeout_ms * interval '1 ms' + p_grace
        from ours x
        where o.ctid = x.row_at
        returning o.*, x.script_name, x.current_version, x.timeout_ms
    )
    select b.id, b.token, b.app_id, a.name, b.script_id, b.script_name, coalesce(b.script_version, b.current_version),
           b.timeout_ms, b.source, b.trigger_id, b.attempt, b.max_attempts, b.backoff, b.backoff_base_ms, b.backoff_max_ms,
           b.backoff_jitter_pct, b.is_sync, b.reply_to, b.is_suspect, b.root_execution_id, b.trigger_depth, b.payload_day,
           b.payload_bytes, b.principal_id, pr.name, pr.disabled_at is not null, b.is_dead_letter_handler, a.revision,
           p.event, p.body, b.traceparent, b.parent_execution_id
    from begun b
    cross join lateral (select a.name, a.revision from apps a where a.id = b.app_id limit 1) a
    cross join lateral (select pr.name, pr.disabled_at from principals pr where pr.id = b.principal_id limit 1) pr
    left join lateral (
        select p.event, p.body from payloads p
        where p.id = b.id and p.day = b.payload_day and b.payload_bytes <= p_inline_bytes limit 1) p on true;
end
$$;
