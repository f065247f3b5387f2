"""What does it cost to be asked who calls? Routes that want a key or a signature, against one that wants nothing."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping

from harness import Stack, free_port, median, report, stack, until
from harness.apps import ITEMS, seed
from harness.load import answers, requests_per_second

from picloud.access.route_auth import RouteAuth
from picloud.identity.keys import create_operator_key
from picloud.local.master_key import ensure_master_key
from picloud.services.vault import SecretPlace, Vault

ROUNDS = 3
CONNECTIONS = 32
_BODY = json.dumps(ITEMS)
_SECRET = "signs requests"


def main() -> None:
    with stack() as bench:
        headers = _prepare(bench)
        measured = _measure(bench, headers)
    report("auth", "async requests accepted a second, by what their route asks of its callers", measured)


def _prepare(bench: Stack) -> dict[str, Mapping[str, str]]:
    """Three routes of one script; what to send to each of them."""
    key_file = bench.folder / "master.key"
    ensure_master_key(key_file)
    vault = Vault(lambda: (key_file.read_bytes(),))
    with bench.connect() as connection:
        seed(connection)
        key = create_operator_key(connection, "bench")
        connection.execute("insert into master_key (id) values (%s)", (vault.first_master_key_id(),))
        data_key = vault.new_data_key(vault.first_master_key_id())
        connection.execute(
            "insert into data_keys (id, app_id, wrapped, master_key_id) values (%s, 1, %s, %s)",
            (data_key.id, data_key.wrapped, data_key.master_key_id),
        )
        connection.execute(
            "insert into secrets (app_id, name, version, sealed, data_key_id, created_by)"
            " values (1, 'HOOK', 1, %s, %s, 1)",
            (vault.seal(data_key, SecretPlace(1, "HOOK", 1), _SECRET), data_key.id),
        )
        for path, auth in {
            "/key": RouteAuth(kind="api_key"),
            "/signature": RouteAuth(kind="github", secret="HOOK"),
        }.items():
            connection.execute(
                "insert into routes (app_id, method, path, script_id, dispatch_mode, auth, principal_id)"
                " values (1, 'POST', %s, 2, 'async', %s, 1)",
                (path, auth.to_json()),
            )
    signature = hmac.new(_SECRET.encode(), _BODY.encode(), hashlib.sha256).hexdigest()
    return {
        "async": {},
        "key": {"authorization": f"Bearer {key}"},
        "signature": {"x-hub-signature-256": f"sha256={signature}"},
    }


def _measure(bench: Stack, headers: Mapping[str, Mapping[str, str]]) -> dict[str, object]:
    """No relay and no worker run: this is the door alone."""
    port = free_port()
    bench.start("web", bind=f"127.0.0.1:{port}", master_key_file=bench.folder / "master.key")
    base = f"http://127.0.0.1:{port}/@bench/"
    until(lambda: answers(base + "async", _BODY), within_seconds=30)
    rates: dict[str, list[float]] = {name: [] for name in headers}
    for _ in range(ROUNDS):
        for name, sent in headers.items():
            rates[name].append(requests_per_second(base + name, _BODY, CONNECTIONS, sent))
    return {
        name: {
            "accepted_per_second": [round(value) for value in values],
            "ratio_to_an_open_route": round(median(values) / median(rates["async"]), 2),
        }
        for name, values in rates.items()
    }


if __name__ == "__main__":
    main()
