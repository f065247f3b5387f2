"""What makes a script run when nobody calls it: the kinds of triggers, as data and rules.

Nothing here reads a database, a file or the clock. The manifest and the control API
read triggers with these rules, the stores keep them, the scheduler asks ``cron`` what
is due.

* ``kinds``: one frozen class for each kind, ``Trigger`` around it, and their JSON form
* ``names``: what a trigger may be called, and what it is called when nobody says
* ``globs``: names of collections, topics and queues, and the globs that match them
* ``addresses``: mail addresses of triggers
* ``cron``: which instants a schedule names, and which of them are due
* ``retry``: a trigger's own retry policy over the platform's
"""

from picloud.triggers.addresses import matches_address, wrong_address
from picloud.triggers.cron import (
    GRACE,
    MAX_CATCH_UP,
    MISSED,
    Due,
    Missed,
    Schedule,
    due,
    next_times,
    parse_schedule,
    wrong_schedule,
    wrong_timezone,
)
from picloud.triggers.globs import glob_of, glob_parts, matches, wrong_glob, wrong_name
from picloud.triggers.kinds import (
    KINDS,
    KV_OPS,
    SOURCES,
    CronTrigger,
    DeadLetterTrigger,
    Detail,
    EmailTrigger,
    Kind,
    KvOp,
    KvTrigger,
    PubsubTrigger,
    QueueTrigger,
    Trigger,
    derived_name,
    problems_of,
    tidied,
    trigger_from_data,
)
from picloud.triggers.names import wrong_trigger_name
from picloud.triggers.retry import BACKOFFS, NO_OVERRIDES, RETRY_BOUNDS, RetryOverrides, RetryValues

__all__ = [
    "BACKOFFS",
    "GRACE",
    "KINDS",
    "KV_OPS",
    "MAX_CATCH_UP",
    "MISSED",
    "NO_OVERRIDES",
    "RETRY_BOUNDS",
    "SOURCES",
    "CronTrigger",
    "DeadLetterTrigger",
    "Detail",
    "Due",
    "EmailTrigger",
    "Kind",
    "KvOp",
    "KvTrigger",
    "Missed",
    "PubsubTrigger",
    "QueueTrigger",
    "RetryOverrides",
    "RetryValues",
    "Schedule",
    "Trigger",
    "derived_name",
    "due",
    "glob_of",
    "glob_parts",
    "matches",
    "matches_address",
    "next_times",
    "parse_schedule",
    "problems_of",
    "tidied",
    "trigger_from_data",
    "wrong_address",
    "wrong_glob",
    "wrong_name",
    "wrong_schedule",
    "wrong_timezone",
    "wrong_trigger_name",
]
