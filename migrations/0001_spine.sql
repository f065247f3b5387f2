-- The spine: apps and their scripts, the outbox, the history of what ran, dead letters.
--
-- Conventions. Ids of executions are UUIDv7 made by the writer, so an ambiguous COMMIT is simply sent
-- again. User data (payloads, results, errors, logs) is bytea: text refuses U+0000 and jsonb refuses more,
-- and a row whose outcome cannot be stored could never be settled. There are no foreign keys on outbox:
-- every KEY SHARE lock would be paid on the hottest table. now() is the only clock.

-- Who acts ----------------------------------------------------------------------------------------

create table principals (
    id           integer generated always as identity primary key,
    kind         text not null check (kind in ('user', 'service', 'app')),
    name         text not null unique,            -- of an app: app:NAME, which no user can be called
    role         text not null default 'member' check (role in ('member', 'admin', 'owner')),   -- in the whole installation
    created_at   timestamptz not null default now(),
    disabled_at  timestamptz,

    constraint principals_have_names check (name ~ case when kind = 'app' then '^app:[a-z0-9-]+$' else '^[a-z0-9]([a-z0-9._@+-]{0,98}[a-z0-9])?$' end),
    constraint principals_that_are_apps_are_nobody_else check (kind <> 'app' or role = 'member')
);

create table api_keys (
    id            integer generated always as identity primary key,
    principal_id  integer not null references principals (id) on delete cascade,
    name          text not null,
    key_hash      bytea not null unique,          -- SHA-256 of the whole key; the key itself is never stored
    last_four     text not null,
    app_id        integer,                        -- the one app it is for; null: every app its principal may use
    scopes        text[] not null,                -- what it is limited to, of the seven there are
    created_at    timestamptz not null default now(),
    expires_at    timestamptz,
    last_used_at  timestamptz,                    -- to the minute: not every use is worth a write
    revoked_at    timestamptz,

    constraint api_keys_scopes_are_known check (scopes <@ '{instance:admin,app:admin,script:write,script:read,script:invoke,data:write,log:read}' and cardinality(scopes) > 0)
);
-- serves: the keys of one principal, listed
create index api_keys_by_principal on api_keys (principal_id);

-- What can run ------------------------------------------------------------------------------------

create table apps (
    id          integer generated always as identity primary key,
    name        text not null unique check (name ~ '^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$'),  -- one DNS label: {app}.localhost
    revision    bigint not null default 1,        -- changes with every deploy: caches of routes check it where they insert
    paused_at   timestamptz,
    http_allowed text[] not null default '{}',    -- private addresses its scripts may call: networks and names
    created_by  integer not null references principals (id),
    created_at  timestamptz not null default now()
);

create table domains (
    domain      text primary key check (domain = lower(domain)),
    app_id      integer not null references apps (id) on delete cascade,
    created_at  timestamptz not null default now()
);
-- serves: the domains of one app, listed
create index domains_by_app on domains (app_id);

create table scripts (
    id               integer generated always as identity primary key,
    app_id           integer not null references apps (id) on delete cascade,
    name             text not null,
    current_version  integer not null,
    timeout_ms       integer not null check (timeout_ms > 0),   -- of the current version: begin sets the deadline from it
    created_at       timestamptz not null default now(),
    deleted_at       timestamptz                  -- kept while history names it
);
-- serves: a script by its name; one living script of a name
create unique index scripts_by_name on scripts (app_id, name) where deleted_at is null;

create table script_versions (
    script_id   integer not null references scripts (id) on delete cascade,
    version     integer not null,
    source      text not null,
    sha256      bytea not null,
    limits      text not null default '{}',       -- JSON: what this version asks for, below the ceilings
    created_by  integer not null references principals (id),
    created_at  timestamptz not null default now(),
    primary key (script_id, version)
);

-- The principal that is an app: its routes run as it. It stays when the app goes, for history names it.
create function principal_of_app(p_app integer) returns integer language plpgsql as $$
declare
    v_name text;
    v_id integer;
begin
    select 'app:' || name into v_name from apps where id = p_app;
    select id into v_id from principals where name = v_name;
    if v_id is null then
        insert into principals (kind, name) values ('app', v_name) on conflict (name) do nothing;
        select id into v_id from principals where name = v_name;
    end if;
    return v_id;
end
$$;

create table routes (
    id             integer generated always as identity primary key,
    app_id         integer not null references apps (id) on delete cascade,
    method         text not null check (method = upper(method)),
    path           text not null check (path like '/%'),
    script_id      integer not null references scripts (id),
    dispatch_mode  text not null check (dispatch_mode in ('sync', 'async')),
    auth           text not null default '{}',    -- JSON: what it asks of its callers; {}: nothing
    principal_id   integer not null references principals (id),   -- whom its script runs as: its app
    created_at     timestamptz not null default now(),
    unique (app_id, method, path)
);
-- serves: "is this script still used by a route?"
create index routes_by_script on routes (script_id);

-- The outbox ---------------------------------------------------------------------------------------

create sequence outbox_seq;

create table outbox (
    id                  uuid primary key,
    seq                 bigint not null default nextval('outbox_seq'),   -- breaks ties of available_at in the order of insertion
    payload_day         date not null,            -- the partition that holds the payload
    state               smallint not null default 0,
    app_id              integer not null,
    script_id           integer not null,
    script_version      integer,                  -- null: the version current when it begins
    source              text not null,
    trigger_id          integer,                  -- the route or trigger that fired, by source
    principal_id        integer not null,
    token               bigint not null default 0,
    attempt             smallint not null default 0,
    max_attempts        smallint not null default 1 check (max_attempts > 0),
    backoff             text not null default 'exponential' check (backoff in ('exponential', 'linear', 'constant')),
    backoff_base_ms     integer not null default 1000,
    backoff_max_ms      integer not null default 3600000,
    backoff_jitter_pct  smallint not null default 20,
    crashes             smallint not null default 0,
    lost                smallint not null default 0,
    is_suspect          boolean not null default false,   -- ran beside others when its process died: runs alone next
    is_sync             boolean not null default false,
    reply_to            text,                     -- the inbox of the web process that waits
    reply_deadline      timestamptz,
    order_key           text,
    is_dead_letter_handler boolean not null default false,
    dead_letter_id      uuid,
    root_execution_id   uuid not null,
    parent_execution_id uuid,                     -- the run whose effect this row is
    traceparent         text,                     -- the W3C trace a request brought; null: the trace of root_execution_id
    trigger_depth       smallint not null default 0,
    queue_id            integer,                  -- of a queued message
    lane                integer not null default 0,   -- its queue when that runs only so many at once: claimed apart
    queue_slot          smallint,                 -- which of them it is, while it is in flight
    worker_id           uuid,
    lease_until         timestamptz,              -- published: when the relay looks again; running: the hard deadline
    available_at        timestamptz not null default now(),
    accepted_at         timestamptz not null default now(),
    begun_at            timestamptz,
    payload_bytes       integer not null default 0,

    -- pending, published, running; held: of a queue that nobody consumes, until somebody does
    constraint outbox_state_is_known check (state in (0, 1, 2, 3)),
    constraint outbox_held_is_queued check (state <> 3 or queue_id is not null),
    constraint outbox_pending_holds_no_lease check (state not in (0, 3) or (lease_until is null and worker_id is null)),
    constraint outbox_published_has_a_lease check (state <> 1 or (lease_until is not null and worker_id is null)),
    constraint outbox_running_has_worker_and_deadline check (state <> 2 or (lease_until is not null and worker_id is not null and attempt > 0)),
    constraint outbox_sync_has_a_reply check (is_sync = (reply_to is not null) and is_sync = (reply_deadline is not null)),
    constraint outbox_sync_runs_once check (not is_sync or max_attempts = 1)
) with (
    -- Terminal rows leave the table, so it is small and hot: vacuum it by count, not by share, and never take
    -- the ACCESS EXCLUSIVE lock that truncating it would need.
    fillfactor = 85, vacuum_truncate = off,
    autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000,
    autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 5000, autovacuum_vacuum_cost_delay = 0
);
-- serves: claim, next_due, lanes (a lane is one app's sync or async rows, or a queue that runs only so many at once)
create index outbox_due on outbox (app_id, is_sync, lane, available_at, seq) where state = 0;
-- serves: the sweeps of publish leases and of run deadlines
create index outbox_leased on outbox (lease_until) where state in (1, 2);
-- serves: what waits in a queue; a queue that gets a consumer, or loses it
create index outbox_of_queue on outbox (queue_id) where queue_id is not null;
-- keeps: no more messages of a queue in flight than its concurrency, whatever relays do at once
create unique index outbox_queue_slots on outbox (queue_id, queue_slot) where state in (1, 2) and queue_slot is not null;
-- serves: handing back what a worker process held; the sweep of dead workers
create index outbox_of_worker on outbox (worker_id) where state = 2;
-- serves: "is there an earlier message with this key?" (a key belongs to its queue)
create index outbox_ordered on outbox (app_id, order_key, seq) where order_key is not null;
-- keeps: one message of a key in flight at a time, whatever relays do at once
create unique index outbox_one_in_flight_per_key on outbox (app_id, order_key, queue_id) nulls not distinct where state in (1, 2) and order_key is not null;
-- serves: the sweep of sync rows nobody can answer any more
create index outbox_reply_deadline on outbox (reply_deadline) where is_sync;

-- What was accepted: insert-only, one partition a day (the day is in the id). The unique (id, day) is what
-- makes accepting idempotent: an outbox row is written only for ids whose payload is written now.
create table payloads (
    id         uuid not null,
    day        date not null,
    app_id     integer not null,
    is_copy    boolean not null default false,    -- carried over from a dropped day: not accepted twice
    event      bytea not null,                    -- JSON of ctx.request or ctx.event, the body left out
    body       bytea,                             -- of an HTTP request, byte for byte
    primary key (id, day)
) partition by range (day);
create table payloads_default partition of payloads default;

create table idempotency_keys (
    app_id        integer not null,
    key           text not null,
    fingerprint   bytea not null,                 -- SHA-256 of method, path and body: a key names one request
    execution_id  uuid not null,
    accepted_at   timestamptz not null default now(),
    primary key (app_id, key)
);
-- serves: forgetting keys after a day
create index idempotency_keys_by_age on idempotency_keys (accepted_at);

-- What ran -------------------------------------------------------------------------------------------

create table executions (
    id                 uuid not null,
    day                date not null default current_date,   -- of the end: the partition
    app_id             integer not null,
    script_id          integer not null,
    script_version     integer,
    source             text not null,
    trigger_id         integer,
    principal_id       integer not null,
    status             text not null check (status in ('completed', 'failed', 'dead', 'cancelled', 'depth_exceeded', 'abandoned')),
    token              bigint not null,           -- of the run that ended it: answers a completion sent twice
    attempts           smallint not null,
    conflicts          smallint not null default 0,   -- how often its last attempt ran again because others changed what it read
    is_sync            boolean not null,
    root_execution_id  uuid not null,
    parent_execution_id uuid,
    trigger_depth      smallint not null,
    worker_id          uuid,
    accepted_at        timestamptz not null,
    started_at         timestamptz,
    finished_at        timestamptz not null default now(),
    run_us             bigint,
    operations         bigint,
    result_kind        text,                      -- unit, json, text, blob, response
    result             bytea,
    http_status        smallint,
    http_headers       bytea,                     -- JSON: [[name, value], …]
    error              bytea                      -- JSON: {"code", "message", …}
) partition by range (day);
create table executions_default partition of executions default;
-- serves: one execution by id; "did this very token commit already?"
create index executions_by_id on executions (id);
-- serves: executions ls, newest first, of one app
create index executions_by_app on executions (app_id, finished_at);
-- serves: executions tree
create index executions_by_root on executions (root_execution_id);

create table attempts (
    execution_id  uuid not null,
    day           date not null default current_date,
    attempt       smallint not null,
    started_at    timestamptz,
    finished_at   timestamptz not null default now(),
    error         bytea not null
) partition by range (day);
create table attempts_default partition of attempts default;
-- serves: the attempts of one execution
create index attempts_by_execution on attempts (execution_id, attempt);

create table execution_logs (
    execution_id  uuid not null,
    day           date not null default current_date,
    app_id        integer not null,
    attempt       smallint not null,
    written_at    timestamptz not null default now(),
    lines         bytea not null                  -- JSON: [{"at_us", "level", "message", "fields"?}, …]
) partition by range (day);
create table execution_logs_default partition of execution_logs default;
-- serves: the logs of one execution
create index execution_logs_by_execution on execution_logs (execution_id, attempt);
-- serves: picloud logs -f APP
create index execution_logs_by_app on execution_logs (app_id, written_at);

create table abandoned_executions (
    execution_id  uuid not null,
    day           date not null default current_date,
    app_id        integer not null,
    script_id     integer not null,
    reason        text not null check (reason in ('deadline_passed', 'client_gone')),
    abandoned_at  timestamptz not null default now()
) partition by range (day);
create table abandoned_executions_default partition of abandoned_executions default;
-- serves: abandoned-executions, newest first, of one app
create index abandoned_executions_by_app on abandoned_executions (app_id, abandoned_at);

-- What died -------------------------------------------------------------------------------------------

create table dead_letters (
    id                 uuid primary key,          -- the id of the execution that died: it can die only once
    app_id             integer not null references apps (id) on delete cascade,
    script_id          integer not null,
    script_version     integer,
    source             text not null,
    trigger_id         integer,
    principal_id       integer not null,
    reason             text not null,             -- retries_exhausted, not_retryable, worker_crash, worker_lost, principal_disabled, …
    event              bytea not null,
    body               bytea,
    edited_from        bytea,                     -- the event as it died, once somebody has edited it
    last_error         bytea not null,
    attempts           smallint not null,
    root_execution_id  uuid not null,
    parent_execution_id uuid,
    trigger_depth      smallint not null,
    traceparent        text,
    queue_id           integer,
    order_key          text,
    max_attempts       smallint not null,
    backoff            text not null,
    backoff_base_ms    integer not null,
    backoff_max_ms     integer not null,
    backoff_jitter_pct smallint not null,
    accepted_at        timestamptz not null,
    died_at            timestamptz not null default now(),
    resolution         text not null default 'unresolved'
        check (resolution in ('unresolved', 'replayed', 'ignored', 'handled_by_script', 'handler_failed')),
    resolved_at        timestamptz,
    resolved_by        integer,
    resolution_note    text,
    replayed_as        uuid,
    check ((resolution = 'unresolved') = (resolved_at is null))
);
-- serves: what still needs somebody, newest first
create index dead_letters_unresolved on dead_letters (app_id, died_at) where resolution = 'unresolved';
-- serves: dead-letters ls of one app; retention by age
create index dead_letters_by_app on dead_letters (app_id, died_at);
create index dead_letters_by_age on dead_letters (died_at);

create table dead_letter_attempts (
    dead_letter_id  uuid not null references dead_letters (id) on delete cascade,
    attempt         smallint not null,
    started_at      timestamptz,
    finished_at     timestamptz not null,
    error           bytea not null,
    logs            bytea                         -- JSON, the tail of what this attempt logged
);
-- serves: dead-letters show
create index dead_letter_attempts_by_letter on dead_letter_attempts (dead_letter_id, attempt);

-- Who runs it -------------------------------------------------------------------------------------------

create table workers (
    id           uuid primary key,                -- random, never used before: one for every process that ever started
    host         text not null,
    pid          integer not null,
    parent_id    uuid,                            -- the supervising process, shared by its children
    threads      smallint not null,
    takes_sync   boolean not null,
    release      text not null,
    protocol     smallint not null,
    run_ms       real not null default 0,         -- measured time of a run, as an exponential average: sizes the relay's window
    draining_at  timestamptz,
    started_at   timestamptz not null default now(),
    beat_at      timestamptz not null default now()
) with (fillfactor = 50);

-- The books: what dropped partitions held, so that the sum still balances ----------------------------------

create table book_totals (
    entry  text primary key check (entry in ('accepted', 'completed', 'failed', 'dead', 'cancelled', 'depth_exceeded')),
    total  bigint not null default 0
);
insert into book_totals (entry) values ('accepted'), ('completed'), ('failed'), ('dead'), ('cancelled'), ('depth_exceeded');

-- Settings of the installation that processes share ---------------------------------------------------------

create table installation (
    only_row               boolean primary key default true check (only_row),
    oldest_worker_protocol smallint not null default 1,   -- an older worker begins no rows
    retention_run_at       timestamptz not null default now(),
    created_at             timestamptz not null default now()
);
insert into installation default values;

-- A new fence: random, so that a crash with asynchronous commit can never re-issue one (a counter would).
create function new_token() returns bigint language sql volatile as $$
    select (random() * 9007199254740990)::bigint + 1
$$;
