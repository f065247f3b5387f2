"""Who may do what: the one place that decides, without a database or HTTP.

* ``roles``: what principals are: in the installation, and in each app
* ``scopes``: what an API key is limited to
* ``capabilities``: everything that can be allowed, and the one table that says by which role and scope
* ``caller``: somebody who presented a credential, and the decision
* ``route_auth``, ``signatures``: what a route of an app asks of its callers

A caller may do something when *both* allow it: the role of the principal, and the scopes of the credential. A session
has every scope, so a signed-in person may do all that their role allows.
"""

from picloud.access.caller import Caller, Membership, Principal
from picloud.access.capabilities import GRANTS, Capability, Grant
from picloud.access.roles import AppRole, InstanceRole
from picloud.access.scopes import ALL_SCOPES, Scope

__all__ = [
    "ALL_SCOPES",
    "GRANTS",
    "AppRole",
    "Caller",
    "Capability",
    "Grant",
    "InstanceRole",
    "Membership",
    "Principal",
    "Scope",
]
