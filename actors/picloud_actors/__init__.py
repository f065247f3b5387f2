"""The worker: Dramatiq as transport, Rhai as what runs, PostgreSQL as the truth.

The way of one run, module by module::

    fetcher    pops messages from Redis, begins their rows in one statement
    workload   what this process holds, who may run next, how much more may come
    consumer   hands begun rows to Dramatiq's worker threads
    executor   the actor: runs the script, never raises
    flusher    settles whatever has finished in one transaction, then answers
    heartbeat  says that the process lives while it holds work; hears of cancelled runs

Around them: ``board`` (evidence that survives SIGKILL), ``process`` (one worker
process), ``service`` (the parent: starts them, reads the board of one that died).

Of Dramatiq its broker, worker threads, consumer hook and actors are used. Its
retries, time limits, delays, results, dead-letter queue and ack sets are not:
every run is settled in PostgreSQL, where a stock piece could only disagree.
"""
