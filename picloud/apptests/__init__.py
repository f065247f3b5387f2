"""``picloud test``: the tests of an app, run by the engine of the workers in a world that is only memory.

A file under ``tests/`` holds functions ``fn test_…()``; each runs in a world of its own:
keys, rows that wait, a clock that stands still, a web that answers what a test says.
Scripts run as a worker runs them, with the same services over another store, and what
their effects cause is decided by the rules of ``kv_apply``, ``send_rows`` and
``write_handlers`` in ``migrations``.

``app``        the app under test: its scripts, routes, triggers and queues, compiled once
``clock``      time as a test sets it
``store``      keys and values in memory
``rows``       what waits to run, what has run, and what died
``world``      all of it together: effects, triggers, retries, dead letters
``runs``       one run of a script, from row to what it came to
``services``   what scripts and tests are given to call
``requests``   HTTP requests of a test to the app
``mocks``      HTTP calls of the app, answered here
``events``     sources fired by hand: what is given becomes the event scripts see
``comparing``  where two values differ, and how values are shown
``sdk``        the module ``test`` of test files; ``python -m picloud.apptests`` documents it
``suite``      finds the tests, runs them, tells how they ended

Nothing here needs a server, and nothing of it is part of one.
"""

from picloud.apptests.suite import Outcome, TestResult, find_tests, run_tests

__all__ = ["Outcome", "TestResult", "find_tests", "run_tests"]
