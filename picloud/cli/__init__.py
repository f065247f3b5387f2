"""The command line: starts PiCloud's processes, and is a client of its control API.

It holds no rule of the platform: what it shows and changes goes through
``/api/v1``, so that every verb works against a server far away. Exceptions are
the verbs of the machine itself (``up``, ``migrate``, ``doctor``, …).

* ``main``: the entry point and the table of commands, imported one by one when used
* ``exit_codes``: what a shell is told; the only place that decides it
* ``client``: the control API over HTTP
* ``options``: what several commands take alike (``--json``, ``--context``, filters)
* ``output``, ``text``: documents for programs, tables for people
* ``app_folder``: a folder with ``picloud.toml`` on this machine, and what is wrong with it
* ``commands/``: a module for each noun
"""
