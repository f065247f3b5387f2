"""PiCloud's web process: the data plane that runs scripts over HTTP, and the control API.

A request of the data plane passes through these modules in this order::

    hosts       which origin was asked for: PiCloud's own, or an app's
    dataplane   the conductor: finds the route, then one of two ways through
    directory   apps and their routes, cached; routing compiles them
    events      what the script will see of the request; credentials removed
    dispatch    sync and async ways into the outbox
    ingress     many requests, one commit
    inbox       where answers of sync runs arrive
    responses   a script's answer as an HTTP response
    problems    an error as an HTTP response: the only place that knows statuses

``composition`` builds it all from the settings, ``server`` starts it under gunicorn.
"""
