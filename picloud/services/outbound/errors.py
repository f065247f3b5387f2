"""Everything that can go wrong with an outbound call, in one tree.

Messages are written for the author of the script and name the place as
``scheme://host:port`` only: paths and queries may carry keys. ``retryable`` says that
the same call may succeed later, not that the other side has done nothing yet.

::

    OutboundError
    ├── BadCallError                what the script asked for is no HTTP call
    │   ├── BadUrlError             bad_url
    │   ├── BadHeaderError          bad_header
    │   └── RequestTooLargeError    request_too_large
    ├── AddressNotAllowedError      address_not_allowed
    ├── HostNotFoundError           host_not_found
    ├── ConnectionFailedError       connection_failed, may be tried again
    ├── TlsFailedError              tls_failed
    ├── OutboundTimeoutError        timeout, may be tried again
    ├── BadResponseError            bad_response
    │   └── ResponseTooLargeError   response_too_large
    └── BadRedirectError            bad_redirect
        └── TooManyRedirectsError   too_many_redirects
"""

from __future__ import annotations

from picloud.errors import PiCloudError


class OutboundError(PiCloudError):
    """Base of every error of an outbound call."""

    code = "outbound_failed"


class BadCallError(OutboundError):
    """Raised when the method, the timeout or another part of a call cannot be used; nothing was sent."""

    code = "bad_call"


class BadUrlError(BadCallError):
    """Raised when a URL is not one of http or https with a plain host."""

    code = "bad_url"


class BadHeaderError(BadCallError):
    """Raised when a request header is malformed, too large, or not the caller's to set."""

    code = "bad_header"


class RequestTooLargeError(BadCallError):
    """Raised when a request body is larger than the limit; nothing was sent."""

    code = "request_too_large"


class AddressNotAllowedError(OutboundError):
    """Raised when a host has an address this app may not reach; nothing was sent to it."""

    code = "address_not_allowed"


class HostNotFoundError(OutboundError):
    """Raised when a name has no address."""

    code = "host_not_found"


class ConnectionFailedError(OutboundError):
    """Raised when a connection cannot be made, or breaks; the request may have arrived."""

    code = "connection_failed"
    retryable = True


class TlsFailedError(OutboundError):
    """Raised when the other side does not speak TLS, or its certificate does not hold."""

    code = "tls_failed"


class OutboundTimeoutError(OutboundError):
    """Raised when a call, or the look-up of its name, took too long; the request may have arrived."""

    code = "timeout"
    retryable = True


class BadResponseError(OutboundError):
    """Raised when what came back is not HTTP, or not whole; the request has arrived."""

    code = "bad_response"


class ResponseTooLargeError(BadResponseError):
    """Raised when headers or body of a response pass their limits; the rest was not read."""

    code = "response_too_large"


class BadRedirectError(OutboundError):
    """Raised when a response redirects to where a call may not follow; that place was not called."""

    code = "bad_redirect"


class TooManyRedirectsError(BadRedirectError):
    """Raised when a redirect follows the last one allowed."""

    code = "too_many_redirects"
