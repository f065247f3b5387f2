"""What scripts can call, described once.

``description``   reads a description off decorated Python functions: signature and docstring
``modules``       those functions, one file for each module of scripts
``library``       which modules there are
``ctx``           what the constant ``ctx`` holds
``context``       the run such a function serves: its log, its services
``registration``  gives the description to the engine
``definitions``   writes it as ``picloud.d.rhai``, for editors
``reference``     writes it into ``docs/scripts.md``; ``python -m picloud.engine.sdk`` does it again

A new module is one file under ``modules`` and one entry in ``library``.
"""

from picloud.engine.sdk.context import RunContext, RunLog
from picloud.engine.sdk.definitions import render_definitions
from picloud.engine.sdk.registration import script_modules

__all__ = ["RunContext", "RunLog", "render_definitions", "script_modules"]
