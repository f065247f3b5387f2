"""The script engine: the only package that imports ``rhai``.

``sdk``      what scripts may call, described once: for the engine, for editors, for ``docs/scripts.md``
``limits``   what one run may spend: a script's wishes, cut to the ceilings
``calls``    single functions of a script, for tests of apps
``runner``   compile once, run often; what a run answers, as bytes ready to be stored
"""

from picloud.engine.limits import ScriptLimits, parse_limits
from picloud.engine.runner import Run, RunFailure, RunResult, ScriptRunner, check_script

__all__ = [
    "Run",
    "RunFailure",
    "RunResult",
    "ScriptLimits",
    "ScriptRunner",
    "check_script",
    "parse_limits",
]
