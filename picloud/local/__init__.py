"""One machine: everything ``picloud up`` needs and a fleet's processes do not.

In the order of a start: ``data_folder`` (where, and who holds it), ``master_key``,
``postgres`` and ``redis`` (servers of our own, unless URLs are configured), ``up``
(the start itself), ``supervisor`` (keeps the processes alive, stops them in reverse
order). Below them: ``server_user`` (whom servers run as when we are root) and
``children`` (processes that do not outlive their parent).
"""
