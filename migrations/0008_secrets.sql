-- Secrets of apps: a value is sealed by a data key, a data key by the master key, which is a file and never here.
-- docs/secrets.md says how, and picloud/services/vault.py does it.

-- Which master key wraps what is wrapped now. Whoever makes a data key holds the row (for share), and so does a
-- rotation (for update): no key is wrapped by a master key that another transaction has just replaced.
create table master_key (
    only_row    boolean primary key default true check (only_row),
    id          bytea not null check (octet_length(id) = 8),    -- a keyed hash of nothing but the key: says nothing about it
    former      bytea[] not null default '{}',                  -- ids of those it replaced: none of them comes back
    rotated_at  timestamptz not null default now(),
    check (id <> all (former))
);

-- What seals the secrets of an app, one key each. A new master key means to wrap these anew, not to touch any secret.
create table data_keys (
    id             uuid primary key,              -- part of what is authenticated: a wrapped key moved to another row does not open
    app_id         integer not null references apps (id) on delete cascade,
    wrapped        bytea not null check (octet_length(wrapped) = 60),          -- AES-256-GCM: nonce 12, key 32, tag 16
    master_key_id  bytea not null check (octet_length(master_key_id) = 8),     -- which master key: a wrong one is told from damage
    created_at     timestamptz not null default now(),
    unique (app_id, id),                                                       -- for the foreign key of secrets
    -- serves: the key of an app. Deferred: while its secrets are sealed anew an app has two.
    constraint data_keys_one_for_each_app unique (app_id) deferrable initially deferred
);

-- One row a name, of its current version: what a secret was is in nobody's interest.
create table secrets (
    app_id       integer not null references apps (id) on delete cascade,
    name         text not null collate "C" check (name ~ '^[A-Za-z_][A-Za-z0-9_.-]{0,99}$'),
    version      integer not null check (version > 0),                   -- counts how often the name was set
    sealed       bytea not null check (octet_length(sealed) > 28),       -- AES-256-GCM: nonce 12, UTF-8, tag 16
    data_key_id  uuid not null,
    created_by   integer not null references principals (id),            -- of this version
    created_at   timestamptz not null default now(),                     -- of this version
    primary key (app_id, name),
    foreign key (app_id, data_key_id) references data_keys (app_id, id)
);
-- serves: the check of that foreign key when a data key goes
create index secrets_by_data_key on secrets (data_key_id);

-- What a worker process has read of master keys when it started; a rotation asks whom it would lock out. Not columns of
-- workers: a process that is idle for a day is forgotten there, and goes on listening.
create table master_key_holders (
    worker_id  uuid primary key,
    host       text not null,
    pid        integer not null,
    keys       bytea[] not null,      -- ids, the one that signs first; empty: it has none
    source     text,                  -- the file it looks at again before each use; null: a copy, good until it ends
    told_at    timestamptz not null default now()
);
