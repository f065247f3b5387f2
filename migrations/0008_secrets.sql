-- Secrets of apps: a value is sealed by a data key, a data key by the master key, which is a file and never here.
-- docs/secrets.md says how, and picloud/services/vault.py does it.

-- What seals secrets. A new master key means to wrap these anew, not to touch any secret.
create table data_keys (
    id             uuid primary key,              -- part of what is authenticated: a wrapped key moved to another row does not open
    wrapped        bytea not null check (octet_length(wrapped) = 60),          -- AES-256-GCM: nonce 12, key 32, tag 16
    master_key_id  bytea not null check (octet_length(master_key_id) = 8),     -- which master key: a wrong one is told from damage
    created_at     timestamptz not null default now(),
    retired_at     timestamptz                    -- from then on it only opens
);
-- serves: the data key that seals what is set now; two processes that make the first one end up with one
create unique index data_keys_sealing on data_keys ((true)) where retired_at is null;

-- One row a name, of its current version: what a secret was is in nobody's interest.
create table secrets (
    app_id       integer not null references apps (id) on delete cascade,
    name         text not null collate "C" check (name ~ '^[A-Za-z_][A-Za-z0-9_.-]{0,99}$'),
    version      integer not null check (version > 0),                   -- counts how often the name was set
    sealed       bytea not null check (octet_length(sealed) > 28),       -- AES-256-GCM: nonce 12, UTF-8, tag 16
    data_key_id  uuid not null references data_keys (id),
    created_by   integer not null references principals (id),            -- of this version
    created_at   timestamptz not null default now(),                     -- of this version
    primary key (app_id, name)
);
-- serves: what a retired data key still seals, and so whether it may go
create index secrets_by_data_key on secrets (data_key_id);
