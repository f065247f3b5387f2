-- Releases: what an app was after each deploy, so that all of it can be made so again. The newest one is the one that runs.

create table releases (
    id          integer generated always as identity primary key,
    app_id      integer not null references apps (id) on delete cascade,
    number      integer not null check (number > 0),   -- counts up within the app
    manifest    text not null,                    -- JSON: the whole of picloud.toml in its one form, every script by file and name
    sha256      bytea not null check (octet_length(sha256) = 32),   -- of the manifest and every source
    revision    bigint not null,                  -- of the app when this was deployed: while it is the same nothing else has changed
    restores    integer,                          -- of a rollback: the number of the deploy it went back to
    created_by  integer not null references principals (id),
    created_at  timestamptz not null default now(),
    -- serves: releases of an app, newest first, and the one that runs
    unique (app_id, number),
    check (restores < number)
);

-- Which version of which script a release runs: a rollback moves the scripts' pointers back to these.
create table release_scripts (
    release_id  integer not null references releases (id) on delete cascade,
    script_id   integer not null,
    version     integer not null,
    primary key (release_id, script_id),
    foreign key (script_id, version) references script_versions (script_id, version) on delete cascade
);
-- serves: the removal of an app, which takes its versions with it
create index release_scripts_by_version on release_scripts (script_id, version);

-- What deploys called a release: one that was deployed again under another name has both.
create table release_labels (
    app_id      integer not null,
    label       text not null check (label <> '' and length(label) <= 200),
    number      integer not null,
    created_at  timestamptz not null default now(),
    primary key (app_id, label),
    foreign key (app_id, number) references releases (app_id, number) on delete cascade
);
-- serves: the labels of a release, listed
create index release_labels_by_release on release_labels (app_id, number);
