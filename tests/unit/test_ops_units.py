"""The systemd units: correct for systemd, tight, and true to the command line and the settings."""

from __future__ import annotations

import re
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from picloud.cli.main import COMMANDS
from picloud.mailroom.service import DRAIN_SECONDS as MAIL_DRAIN_SECONDS
from picloud.settings import load_settings, setting_names
from picloud_actors.process import DRAIN_SECONDS
from picloud_web.server import gunicorn_options

OPS = Path(__file__).resolve().parents[2] / "ops"
SERVICES = sorted(OPS.glob("*.service"))
INSTALLED_COMMAND = "/opt/picloud/bin/picloud"
#: The highest exposure (0 to 10, of `systemd-analyze security`) a unit may have.
EXPOSURE_LIMIT = 2.0

needs_systemd_analyze = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


def settings_of(unit: Path) -> dict[str, list[str]]:
    """Every ``Key=value`` of a unit, the values of a key in order."""
    values: dict[str, list[str]] = {}
    for line in unit.read_text().splitlines():
        key, equals, value = line.partition("=")
        if equals and not line.startswith("#"):
            values.setdefault(key, []).append(value)
    return values


def seconds(text: str) -> int:
    """A plain time span of systemd.time(7), as the units write it."""
    number, unit = re.fullmatch(r"(\d+)(min|s)?", text).groups()  # type: ignore[union-attr]
    return int(number) * (60 if unit == "min" else 1)


def exposure(unit: Path) -> float:
    """What ``systemd-analyze security`` says of an installed unit and its drop-ins."""
    done = subprocess.run(
        ["systemd-analyze", "security", "--offline=true", "--no-pager", str(unit)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    level = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert level, done.stdout + done.stderr
    return float(level[1])


@pytest.fixture
def installed_units(tmp_path: Path) -> Path:
    """The units in a folder, with a command that exists: systemd checks that it does."""
    command = tmp_path / "picloud"
    command.write_text("#!/bin/sh\n")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    for unit in [*SERVICES, *OPS.glob("*.target")]:
        (tmp_path / unit.name).write_text(unit.read_text().replace(INSTALLED_COMMAND, str(command)))
    return tmp_path


def test_the_units_an_operator_is_told_about_exist() -> None:
    assert {unit.name for unit in SERVICES} == {
        "picloud-mail.service",
        "picloud-migrate.service",
        "picloud-relay.service",
        "picloud-web.service",
        "picloud-worker@.service",
    }


@needs_systemd_analyze
def test_systemd_finds_nothing_to_complain_about(installed_units: Path) -> None:
    units = sorted(str(path) for path in installed_units.glob("picloud*.*"))
    done = subprocess.run(
        ["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False, timeout=60
    )
    complaints = [line for line in done.stderr.splitlines() if "picloud" in line]
    assert (done.returncode, complaints) == (0, [])


@needs_systemd_analyze
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_exposes_little(unit: Path, installed_units: Path) -> None:
    assert exposure(installed_units / unit.name) <= EXPOSURE_LIMIT


@needs_systemd_analyze
def test_a_mail_unit_that_may_take_port_25_exposes_little_more(installed_units: Path) -> None:
    drop_ins = installed_units / "picloud-mail.service.d"
    drop_ins.mkdir()
    shutil.copy(OPS / "picloud-mail-port-25.conf", drop_ins / "port-25.conf")
    unit = installed_units / "picloud-mail.service"
    assert (level := exposure(unit)) <= EXPOSURE_LIMIT
    shutil.rmtree(drop_ins)
    assert exposure(unit) < level


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_starts_a_command_that_exists(unit: Path) -> None:
    [command_line] = settings_of(unit)["ExecStart"]
    command, verb = command_line.split()
    assert command == INSTALLED_COMMAND
    assert verb in {name for section in COMMANDS.values() for name in section}


@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_a_unit_sets_only_settings_that_exist(unit: Path) -> None:
    assigned = [each.partition("=")[0] for line in settings_of(unit)["Environment"] for each in line.split()]
    assert set(assigned) <= set(setting_names())


@pytest.mark.parametrize("name", ["picloud-mail.service", "picloud-relay.service", "picloud-worker@.service"])
def test_a_process_that_pets_the_watchdog_is_watched(name: str) -> None:
    values = settings_of(OPS / name)
    assert values["Type"] == ["notify"]
    # The relay blocks for up to 30 s when nothing happens; twice that is the least that cannot bark for nothing.
    assert seconds(values["WatchdogSec"][0]) >= 60


def test_a_worker_may_drain_before_it_is_killed() -> None:
    values = settings_of(OPS / "picloud-worker@.service")
    assert seconds(values["TimeoutStopSec"][0]) > DRAIN_SECONDS
    assert values["KillMode"] == ["mixed"]
    # Otherwise systemd stops the parent when the kernel kills one child, and nobody reads who was to blame.
    assert values["OOMPolicy"] == ["continue"]


def test_the_evidence_of_a_crash_outlives_the_restart() -> None:
    values = settings_of(OPS / "picloud-worker@.service")
    assert "%i" in values["RuntimeDirectory"][0]
    assert values["RuntimeDirectoryPreserve"] == ["restart"]


def test_web_may_answer_what_it_was_asked_before_it_is_killed() -> None:
    values = settings_of(OPS / "picloud-web.service")
    assert seconds(values["TimeoutStopSec"][0]) > gunicorn_options(load_settings({}))["graceful_timeout"]


def test_mail_may_be_finished_before_its_process_is_killed() -> None:
    values = settings_of(OPS / "picloud-mail.service")
    # Once for what is being received, once for the rows of what was.
    assert seconds(values["TimeoutStopSec"][0]) > 2 * MAIL_DRAIN_SECONDS


def assignments(text: str, *, commented: bool) -> dict[str, str]:
    lines = re.findall(r"^(#?)(PICLOUD_\w+)=(.*)$", text, re.MULTILINE)
    return {name: value for mark, name, value in lines if bool(mark) == commented}


def test_the_environment_file_is_accepted_as_it_is() -> None:
    settings = load_settings(assignments((OPS / "picloud.env").read_text(), commented=False))
    assert settings.database_url
    assert settings.redis_url


def test_the_environment_file_shows_every_setting_with_its_default() -> None:
    text = (OPS / "picloud.env").read_text()
    shown = assignments(text, commented=True)
    given_by_the_units = {"PICLOUD_DATA_DIR", "PICLOUD_MASTER_KEY_FILE"}
    assert {*shown, *assignments(text, commented=False), *given_by_the_units} == set(setting_names())
    # An example address has no default to show, but it can be read.
    examples = {"PICLOUD_PUBLIC_URL", "PICLOUD_SMTP_BIND", "PICLOUD_SMTP_URL", "PICLOUD_MAIL_FROM"}
    load_settings(shown)
    assert load_settings({name: value for name, value in shown.items() if name not in examples}) == load_settings({})
