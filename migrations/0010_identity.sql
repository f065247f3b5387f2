-- Who acts, beyond principals and keys: passwords, sessions, members of apps, and the record of what they changed.

-- Keys of an app go with it. (Here, because apps come after keys in 0001.)
alter table api_keys add foreign key (app_id) references apps (id) on delete cascade;
-- serves: the keys of one app, listed
create index api_keys_by_app on api_keys (app_id) where app_id is not null;

-- A user's password; a service has none. Apart from principals, so that nothing that lists them can show it.
create table passwords (
    principal_id  integer primary key references principals (id) on delete cascade,
    hash          text not null,                  -- argon2id in PHC string format, parameters and salt within
    changed_at    timestamptz not null default now()
);

create table sessions (
    id            integer generated always as identity primary key,
    principal_id  integer not null references principals (id) on delete cascade,
    token_hash    bytea not null unique,          -- SHA-256 of the cookie's value; the value itself is never stored
    user_agent    text not null default '',       -- so that its owner knows it again
    created_at    timestamptz not null default now(),
    expires_at    timestamptz not null,
    last_used_at  timestamptz not null default now()   -- to the minute
);
-- serves: the sessions of one principal, listed and ended
create index sessions_by_principal on sessions (principal_id);
-- serves: forgetting sessions that have expired
create index sessions_by_age on sessions (expires_at);

-- Failed logins, by the name that was tried and by where from: what slows guessing down. Attempts, not principals: a name that
-- does not exist is slowed like one that does.
create table login_failures (
    subject       text not null,                  -- 'name:anna' or 'from:192.0.2.7'
    failures      integer not null,
    last_at       timestamptz not null default now(),
    primary key (subject)
);

-- The one-time link of the first admin; there is never more than one.
create table setup_links (
    only_one      boolean primary key default true check (only_one),
    secret_hash   bytea not null,
    expires_at    timestamptz not null
);

create table app_members (
    app_id        integer not null references apps (id) on delete cascade,
    principal_id  integer not null references principals (id) on delete cascade,
    role          text not null check (role in ('viewer', 'editor', 'admin')),
    added_at      timestamptz not null default now(),
    primary key (app_id, principal_id)
);
-- serves: the apps of one principal, with every call it makes
create index app_members_by_principal on app_members (principal_id);

-- Who did what to which object. Names are written as they were: what they name may be gone by the time somebody reads.
create table audit_log (
    id            bigint generated always as identity primary key,
    at            timestamptz not null default now(),
    principal_id  integer,                        -- null: nobody who is known (a login that failed)
    principal     text not null,
    credential    text not null,                  -- 'session', 'key …wxyz', 'this machine'
    request_id    text,
    action        text not null,                  -- the operation of the control API
    app           text,
    object        text not null default '',       -- a script's name, a letter's id, …
    before        bytea,                          -- JSON, as far as there is a before
    after         bytea,
    reason        text
);
-- serves: the audit log of one app, newest first
create index audit_log_by_app on audit_log (app, id);
-- serves: what one principal did
create index audit_log_by_principal on audit_log (principal_id, id);
-- serves: forgetting what is too old
create index audit_log_by_age on audit_log (at);

-- Changes whenever somebody may do less than before, or anything else about credentials changes: a cache of callers is valid
-- while this is what it was. One row.
create table access_revision (
    only_one      boolean primary key default true check (only_one),
    revision      bigint not null default 1
);
insert into access_revision default values;

create function raise_access_revision() returns trigger language plpgsql as $$
begin
    update access_revision set revision = revision + 1;
    return null;
end
$$;

-- last_used_at alone says nothing about what somebody may.
create trigger api_keys_change_access
    after update of principal_id, app_id, scopes, expires_at, revoked_at on api_keys
    for each statement execute function raise_access_revision();
create trigger api_keys_removed_change_access after delete on api_keys
    for each statement execute function raise_access_revision();
create trigger principals_change_access
    after update of role, disabled_at, name or delete on principals
    for each statement execute function raise_access_revision();
create trigger app_members_change_access
    after insert or update or delete on app_members
    for each statement execute function raise_access_revision();
create trigger sessions_change_access
    after update of expires_at or delete on sessions
    for each statement execute function raise_access_revision();
