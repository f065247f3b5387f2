"""The modules of scripts, in the order in which people read about them."""

from __future__ import annotations

from picloud.engine.sdk.modules.base64 import BASE64
from picloud.engine.sdk.modules.email import EMAIL
from picloud.engine.sdk.modules.functions import FUNCTIONS
from picloud.engine.sdk.modules.hash import HASH
from picloud.engine.sdk.modules.hmac import HMAC
from picloud.engine.sdk.modules.http import HTTP
from picloud.engine.sdk.modules.json import JSON
from picloud.engine.sdk.modules.kv import KV
from picloud.engine.sdk.modules.log import LOG
from picloud.engine.sdk.modules.pubsub import PUBSUB
from picloud.engine.sdk.modules.queue import QUEUE
from picloud.engine.sdk.modules.random import RANDOM
from picloud.engine.sdk.modules.response import RESPONSE
from picloud.engine.sdk.modules.secrets import SECRETS
from picloud.engine.sdk.modules.time import TIME
from picloud.engine.sdk.modules.url import URL
from picloud.engine.sdk.modules.uuid import UUID

#: First what acts on the world, then what answers, then the small tools.
MODULES = (
    *(KV, QUEUE, PUBSUB, EMAIL, FUNCTIONS, HTTP, SECRETS),
    *(RESPONSE, LOG),
    *(JSON, BASE64, HASH, HMAC, UUID, RANDOM, TIME, URL),
)
