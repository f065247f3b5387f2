"""schemathesis against the API: what is served is what the description says, whatever is sent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from picloud_web.streams import Streams
from tests.integration.api.conftest import Api
from tests.integration.api.loopback import served
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

_SECONDS = 35
#: What is valid by its schema may still be refused: names, manifests, passwords and the members of each kind of trigger
#: have rules that JSON Schema does not tell. That examples are accepted is in tests/unit/api/test_docs_page.py.
_UNCHECKED = "positive_data_acceptance"

#: The key that asks, whom it belongs to, and the app stay as they are, whatever operation means them: else the rest of
#: the run would be answered 401, 404 or 503 (paused).
_KEEP = """
create function keep() returns trigger language plpgsql as 'begin return null; end';
create trigger keep before update or delete on api_keys for each row when (old.name = 'test') execute function keep();
create trigger keep before update or delete on principals for each row when (old.name = 'local')
    execute function keep();
create trigger keep before delete on apps for each row execute function keep();
create function keep_going() returns trigger language plpgsql as 'begin new.paused_at = null; return new; end';
create trigger keep_going before update on apps for each row execute function keep_going();
"""


def test_schemathesis_finds_nothing(api: Api, seeds: Seeds, tmp_path: Path) -> None:
    app = seeds.app()
    seeds.ended(app, seeds.script(app))
    seeds.connection.execute(_KEEP)
    object.__setattr__(api.services, "streams", Streams(longest_seconds=0.1))
    settings = tmp_path / "schemathesis.toml"
    settings.write_text('[parameters]\n"path.app" = "shop"\n')
    with served(api) as url:
        run = subprocess.run(
            [
                sys.executable, "-m", "schemathesis.cli", "--config-file", str(settings),
                "run", f"{url}/api/v1/openapi.json", "--header", f"Authorization:Bearer {api.key}",
                "--phases", "examples,coverage,fuzzing", "--max-examples", "1", "--seed", "1",
                "--max-time", str(_SECONDS), "--request-timeout", "20", "--workers", "1",
                "--exclude-checks", _UNCHECKED, "--continue-on-failure", "--no-color",
            ],
            capture_output=True, text=True, cwd=tmp_path, timeout=4 * _SECONDS, check=False,
        )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
