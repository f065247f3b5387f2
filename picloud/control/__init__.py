"""What people and programs change and look at: the control plane, without HTTP.

* ``audit``: who did what (who is who is in ``picloud.identity``)
* ``apps``, ``scripts``, ``routes``, ``triggers``, ``queues``: what can run, and when; ``trigger_rows``: their rows
* ``deploy``: all of it at once; ``plan`` compares what is ``wanted`` with what is ``found``, ``applying`` does it;
  ``releases``: what deploys left, and going back
* ``secrets``, ``signing_secrets``, ``http_allowed``: what an app may know and whom it may call
* ``kv``: keys of apps; ``emit``: sources of triggers fired by hand
* ``executions``, ``logs``, ``waiting``, ``dead_letters``: what ran, what it said, what will run, what died
* ``resolutions``, ``dry_runs``: what is done about what died, and what would happen
* ``system``, ``figures``: queues, workers, the books
* ``records``, ``pages``: how rows become structs, and lists become pages

Store functions take the connection first; the caller owns the transaction. The structs they
return are the JSON shapes of the control API. ``routing`` is the data plane's view of the
same tables.
"""
