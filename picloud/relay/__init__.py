"""The relay: the scheduler that moves due rows from PostgreSQL into Redis.

``lanes``      which rows to look at first, and from where (pure)
``window``     how much may be on its way, how long to wait (pure)
``grouping``   rows into messages (pure)
``publisher``  the Redis side: publish, epoch, wake
``sweeps``     what has to be taken back: lapsed leases, dead workers, unanswerable sync rows
``retention``  day partitions made ahead and dropped behind
``loop``       one round after the other
``service``    the process

Any number of relays may run; every statement is idempotent and ``SKIP LOCKED``.
"""
