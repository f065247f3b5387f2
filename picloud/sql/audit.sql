-- The audit log: written with every change through the control API, read by admins.

-- name: insert_entry
insert into audit_log (principal_id, principal, credential, request_id, action, app, object, before, after, reason)
values (%(principal_id)s, %(principal)s, %(credential)s, %(request_id)s, %(action)s, %(app)s, %(object)s, %(before)s, %(after)s,
        %(reason)s)

-- name: entries
-- audit ls, newest first; `after` is the id the last page ended with. Only about these apps, unless null.
select id, at, principal, credential, request_id, action, app, object, before, after, reason
from audit_log
where (%(id)s::bigint is null or id = %(id)s)
  and (%(apps)s::text[] is null or app = any(%(apps)s))
  and (%(principal)s::text is null or principal = %(principal)s)
  and (%(action)s::text is null or action = %(action)s)
  and (%(object)s::text is null or object = %(object)s)
  and (%(since)s::timestamptz is null or at >= %(since)s)
  and (%(cursor)s::bigint is null or id < %(cursor)s)
order by id desc
limit %(limit)s
