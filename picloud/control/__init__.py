"""What people and programs change and look at: the control plane, without HTTP.

* ``identity``: principals and API keys
* ``apps``, ``scripts``, ``routes``, ``triggers``, ``queues``: what can run, and when; ``trigger_rows``: their rows
* ``deploy``: all of it at once, from a manifest; ``plan``: what that would change
* ``kv``: keys of apps; ``emit``: sources of triggers fired by hand
* ``executions``, ``logs``, ``waiting``, ``dead_letters``: what ran, what it said, what will run, what died
* ``resolutions``, ``dry_runs``: what is done about what died, and what would happen
* ``system``: queues, workers, the books
* ``records``, ``pages``: how rows become structs, and lists become pages

Store functions take the connection first; the caller owns the transaction. The structs they
return are the JSON shapes of the control API. ``routing`` is the data plane's view of the
same tables.
"""
