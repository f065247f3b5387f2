"""HTTP calls that scripts make, kept away from what they must not reach.

The guard works on connections, not on URLs: a name is resolved once, every address it has is
judged, and the socket is opened to exactly the address that was judged. No library opens a
socket of its own here, so nothing resolves a second time, follows a redirect unseen or asks
the environment for a proxy. Each hop has a connection of its own, closed at its end: one that
was opened under the allow-list of one app can never serve another.

* ``client``: ``OutboundClient``, one call from request to response; not imported here, as only workers load its library
* ``messages``: the request and the response, their limits and headers
* ``urls``: where a URL leads; ``redirects``: where a response leads
* ``addresses``: which addresses are public, private or never reached
* ``policy``: what an instance admin allows an app, and what is PiCloud's own
* ``guard``: those three brought together; ``names``: looking names up
* ``streams``: the one place that opens sockets; ``exchange``: one request and its response
* ``deadline``: the time a call may take; ``errors``: everything that can go wrong
"""

from picloud.services.outbound.errors import OutboundError
from picloud.services.outbound.messages import OutboundLimits, OutboundRequest, OutboundResponse
from picloud.services.outbound.policy import AddressPolicy, OwnPlaces, parse_allowed

__all__ = [
    "AddressPolicy",
    "OutboundError",
    "OutboundLimits",
    "OutboundRequest",
    "OutboundResponse",
    "OwnPlaces",
    "parse_allowed",
]
