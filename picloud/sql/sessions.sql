-- Sessions of signed-in people, and what slows the guessing of passwords down.

-- name: insert_session
insert into sessions (principal_id, token_hash, user_agent, expires_at)
values (%(principal_id)s, %(hash)s, %(user_agent)s, now() + %(lifetime)s)
returning id, expires_at

-- name: sessions
-- me/sessions: those that are not over, newest first; `after` is the id the last page ended with.
select id, user_agent, created_at, last_used_at, expires_at, id = %(current)s as is_current
from sessions
where principal_id = %(principal_id)s and expires_at > now() and last_used_at > now() - interval '7 days'
  and (%(after)s::int is null or id < %(after)s)
order by id desc
limit %(limit)s

-- name: end_session
delete from sessions where id = %(id)s and principal_id = %(principal_id)s
returning id

-- name: end_session_of_token
-- A browser that signs in anew gives the session it had up.
delete from sessions where token_hash = %(hash)s

-- name: end_sessions
-- All of a principal, or all but one.
delete from sessions where principal_id = %(principal_id)s and id is distinct from %(but)s

-- name: known
-- Has this name been signed in to from this address before?
select exists (select from login_failures where subject = %(subject)s) as is_known

-- name: charge
-- Counts an attempt before it is made: a hundred at once are a hundred. No row when it has to wait. The n-th attempt waits
-- 2^(n - free) seconds after the one before, never longer than %(most_seconds)s; a day without attempts forgives all.
insert into login_failures (subject, failures) values (%(subject)s, 1)
on conflict (subject) do update
set failures = case when login_failures.last_at < now() - interval '1 day' then 1 else login_failures.failures + 1 end,
    last_at = now()
where login_failures.failures < %(free)s
   or login_failures.last_at
      + least(2 ^ least(login_failures.failures - %(free)s, 30), %(most_seconds)s) * interval '1 second' <= now()
returning failures

-- name: wait
-- How long the next attempt has to wait.
select greatest(1, ceil(extract(epoch from
    last_at + least(2 ^ least(failures - %(free)s, 30), %(most_seconds)s) * interval '1 second' - now())))::int as seconds
from login_failures where subject = %(subject)s

-- name: refund
-- The attempt was never made, or it was right: it does not count.
update login_failures set failures = greatest(failures - 1, 0) where subject = any(%(subjects)s)

-- name: forgive
delete from login_failures where subject = %(subject)s

-- name: remember_known
insert into login_failures (subject, failures) values (%(subject)s, 0)
on conflict (subject) do update set failures = 0, last_at = now()
