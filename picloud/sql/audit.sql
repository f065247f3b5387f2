-- The audit log: written with every change through the control API, read by admins.

-- name: insert_entry
insert into audit_log (principal_id, principal, credential, request_id, action, app, object, before, after, reason)
values (%(principal_id)s, %(principal)s, %(credential)s, %(request_id)s, %(action)s, %(app)s, %(object)s, %(before)s, %(after)s,
        %(reason)s)
