"""Who is who: users and services, what they present, what they are in apps. ``picloud.access`` decides what they may.

* ``keys``: API keys, and the caller behind a key or a session; ``key_rules``: which keys a caller may make and revoke
* ``users``, ``principals``: people and programs, as admins manage them; ``members``: what they are in an app
* ``passwords``, ``attempts``: hashing off the event loop, and what slows guessing down
* ``sessions``, ``setup``: signed-in people, and the one-time link of the first of them

Store functions: the connection comes first, and the caller owns the transaction.
"""
