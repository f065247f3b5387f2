-- Releases of apps: what a deploy and a rollback leave, and what is read of it. Whoever writes has locked the app.

-- name: releases
-- releases ls and, with number, releases show; `after` is the number the last page ended with. The newest one runs.
select r.id, %(app)s::text as app, r.number, r.number = (select max(number) from releases where app_id = %(app_id)s) as is_current,
       array(select l.label from release_labels l where l.app_id = r.app_id and l.number = r.number order by l.created_at, l.label) as labels,
       r.restores, (select count(*) from release_scripts s where s.release_id = r.id) as scripts,
       r.sha256, r.revision, r.created_at, p.name as created_by,
       case when %(with_manifest)s then r.manifest end as manifest
from releases r
join principals p on p.id = r.created_by
where r.app_id = %(app_id)s
  and (%(number)s::int is null or r.number = %(number)s)
  and (%(after)s::int is null or r.number < %(after)s)
order by r.number desc
limit %(limit)s

-- name: labelled_release
-- The number of the release that has a label.
select number from release_labels where app_id = %(app_id)s and label = %(label)s

-- name: previous_release
-- What a rollback without a number goes back to: the release before the deploy that runs.
select max(number) as number from releases where app_id = %(app_id)s and number < %(number)s

-- name: release_scripts
-- What a release runs.
select s.id as script_id, s.name, v.version, v.sha256, v.limits, case when %(with_source)s then v.source end as source
from release_scripts r
join scripts s on s.id = r.script_id
join script_versions v on v.script_id = r.script_id and v.version = r.version
where r.release_id = %(release_id)s
order by s.name

-- name: insert_release
-- The scripts of the release are those that run now.
with made as (
    insert into releases (app_id, number, manifest, sha256, revision, restores, created_by)
    select %(app_id)s, coalesce(max(number), 0) + 1, %(manifest)s, %(sha256)s, %(revision)s, %(restores)s, %(principal_id)s
    from releases where app_id = %(app_id)s
    returning id, number
), kept as (
    insert into release_scripts (release_id, script_id, version)
    select made.id, s.id, s.current_version from made, scripts s where s.app_id = %(app_id)s and s.deleted_at is null
)
select number from made

-- name: insert_label
insert into release_labels (app_id, label, number) values (%(app_id)s, %(label)s, %(number)s)
