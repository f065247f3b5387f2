"""The life of an outbox row, one module a step.

::

    PENDING ──claim──> PUBLISHED ──begin──> RUNNING ──complete──> gone, with its effects
       ^                   │                   ├──fail──> PENDING after a back-off, or a dead letter
       └── lease ended ────┘                   └──worker lost or crashed──> PENDING

Store functions take the connection first; the caller owns the transaction. A
row's token is its fence: every change of state matches on ``id AND token`` and
writes a new token, so that holding the current one is owning the row.
"""
