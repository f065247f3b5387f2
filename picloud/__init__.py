"""PiCloud: a self-hosted, event-driven serverless platform.

This package is the domain and the platform: it knows PostgreSQL and Redis, but
no HTTP framework and no actor library. ``docs/architecture.md`` is the map.
"""

__version__ = "0.1.0"
