"""Another master key in the place of the one there is: what each step does, and what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import psycopg_pool
import pytest

from picloud.errors import ConflictError
from picloud.ids import new_id
from picloud.local import master_key_rotation
from picloud.local.master_key import (
    MasterKeyFile,
    ensure_master_key,
    load_master_keys,
    master_key_source,
    replace_master_keys,
)
from picloud.local.master_key_holders import Holder
from picloud.local.master_key_rotation import UnsafeRotationError, prepare, prove, read_installed, retire, rotate
from picloud.services.vault import SecretReader, WrongMasterKeyError, master_key_id
from picloud.settings import Settings
from tests.sealed_secrets import put_secret
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

VALUE = "sk_live_51Hxx-quite-secret"


class Installation:
    """A database and a key file, with two apps that have a secret each."""

    def __init__(self, url: str, path: Path) -> None:
        self.url = url
        self.path = path
        self.settings = Settings(master_key_file=str(path))
        self.source = master_key_source(self.settings)
        self.connection: psycopg.Connection[Any] = psycopg.connect(url, autocommit=True)
        self.seeds = Seeds(self.connection)
        self.first = ensure_master_key(path)
        self.apps = {name: self.seeds.app(name) for name in ("shop", "other")}
        for name in self.apps:
            self.put(name, f"{VALUE} of {name}")

    def put(self, app: str, value: str) -> None:
        put_secret(self.url, self.seeds, app, "KEY", value, self.path)

    def rotate(self, *holders: Holder) -> master_key_rotation.Rotated:
        return rotate(self.connection, self.path, self.source, holders)

    def retire(self, *holders: Holder) -> bytes | None:
        return retire(self.connection, self.path, self.source, holders)

    @property
    def ids(self) -> list[bytes]:
        return [master_key_id(key) for key in load_master_keys(self.path)]

    def holder(self, *keys: bytes, source: str | None = None) -> Holder:
        return Holder(new_id(), "pi-4", 17, tuple(master_key_id(key) for key in keys), source)


@pytest.fixture
def installation(database_url: str, tmp_path: Path) -> Iterator[Installation]:
    made = Installation(database_url, tmp_path / "master.key")
    yield made
    made.connection.close()


def test_one_machine_rotates_and_retires_while_its_processes_go_on(installation: Installation) -> None:
    with psycopg_pool.ConnectionPool[psycopg.Connection[Any]](
        installation.url, kwargs={"autocommit": True}, min_size=0, max_size=2
    ) as pool:

        def reads() -> list[str]:
            # A process that has read before, and one that begins now.
            return [
                each.get(app, "KEY")
                for each in (reader, SecretReader(pool, MasterKeyFile(installation.settings)))
                for app in installation.apps.values()
            ]

        reader = SecretReader(pool, MasterKeyFile(installation.settings))
        before = reads()
        sealed = installation.connection.execute("select app_id, sealed from secrets order by 1").fetchall()
        running = installation.holder(installation.first, source=installation.source)
        done = installation.rotate(running)
        assert done.old == master_key_id(installation.first)
        assert installation.ids == [done.new, done.old]
        assert done.data_keys == 2
        assert reads() == before
        assert installation.retire(running) == done.old
        assert installation.ids == [done.new]
        assert reads() == before
        assert installation.connection.execute("select app_id, sealed from secrets order by 1").fetchall() == sealed
        assert prove(installation.connection, installation.path).broken == ()


def test_a_fleet_prepares_first_and_nobody_is_locked_out(installation: Installation) -> None:
    old_copy = installation.holder(installation.first)
    with pytest.raises(UnsafeRotationError, match=r"own copy of the master key: worker .* on pi-4") as refused:
        installation.rotate(old_copy)
    assert refused.value.hint is not None
    assert "master-key prepare" in refused.value.hint
    assert installation.ids == [master_key_id(installation.first)], "nothing was changed"
    new = prepare(installation.connection, installation.path)
    assert prepare(installation.connection, installation.path) == new, "once"
    with pytest.raises(UnsafeRotationError, match=f"have not got the new master key {new.hex()}: worker"):
        installation.rotate(old_copy)
    assert read_installed(installation.connection).id == master_key_id(installation.first)
    both = load_master_keys(installation.path)
    assert installation.rotate(installation.holder(*both), installation.holder()).new == new
    with pytest.raises(UnsafeRotationError, match="still signs with a former master key"):
        installation.retire(installation.holder(*both))
    assert installation.retire(installation.holder(*reversed(both))) == master_key_id(installation.first)


def test_a_process_with_both_keys_reads_before_and_after(installation: Installation, tmp_path: Path) -> None:
    prepare(installation.connection, installation.path)
    copy = tmp_path / "copy"
    copy.write_bytes(installation.path.read_bytes())
    assert prove(installation.connection, copy).secrets == 2
    installation.rotate()
    installation.retire()
    assert prove(installation.connection, copy).secrets == 2
    assert prove(installation.connection, copy).broken == ()


def test_a_former_key_has_to_go_before_the_next_one_comes(installation: Installation) -> None:
    installation.rotate()
    with pytest.raises(UnsafeRotationError, match="which the last rotation replaced") as refused:
        installation.rotate()
    assert "retire" in (refused.value.hint or "")
    with pytest.raises(UnsafeRotationError):
        prepare(installation.connection, installation.path)
    installation.retire()
    assert installation.retire() is None
    assert installation.rotate().data_keys == 2


def test_a_prepared_key_is_not_taken_for_a_former_one(installation: Installation) -> None:
    new = prepare(installation.connection, installation.path)
    with pytest.raises(UnsafeRotationError, match="is the next one"):
        installation.retire()
    assert installation.ids[1] == new


@pytest.mark.parametrize("step", [lambda it: it.rotate(), lambda it: it.retire()], ids=["rotate", "retire"])
def test_a_file_that_does_not_open_what_there_is_changes_nothing(
    installation: Installation, step: Callable[[Installation], object]
) -> None:
    wrong = b"w" * 32
    replace_master_keys(installation.path, (wrong,))
    with pytest.raises(WrongMasterKeyError, match=f"and .*master.key holds {master_key_id(wrong).hex()}"):
        step(installation)
    assert load_master_keys(installation.path) == (wrong,)


def test_a_data_key_that_was_altered_stops_the_rotation(installation: Installation) -> None:
    installation.connection.execute(
        "update data_keys set wrapped = set_byte(wrapped, 20, 255 - get_byte(wrapped, 20)) where app_id = %s",
        (installation.apps["shop"],),
    )
    with pytest.raises(Exception, match="cannot be opened: its row was altered"):
        installation.rotate()
    assert read_installed(installation.connection).id == master_key_id(installation.first)
    found = prove(installation.connection, installation.path)
    assert found.secrets == 1
    assert found.broken[0].startswith("shop/KEY: ")


def test_a_former_key_that_still_wraps_something_is_not_retired(installation: Installation) -> None:
    before = installation.connection.execute("select id, wrapped, master_key_id from data_keys").fetchall()
    installation.rotate()
    identifier, wrapped, master = before[0]
    installation.connection.execute(
        "update data_keys set wrapped = %s, master_key_id = %s where id = %s", (wrapped, master, identifier)
    )
    with pytest.raises(UnsafeRotationError, match=r"1 data key\(s\) are wrapped by master key"):
        installation.retire()


def test_before_anything_was_sealed_a_rotation_holds_too(database_url: str, tmp_path: Path) -> None:
    path = tmp_path / "master.key"
    ensure_master_key(path)
    with psycopg.connect(database_url, autocommit=True) as connection:
        seeds = Seeds(connection)
        seeds.app()
        done = rotate(connection, path, None, ())
        assert done.data_keys == 0
        put_secret(database_url, seeds, "shop", "KEY", VALUE, path)
        retire(connection, path, None, ())
        assert prove(connection, path).secrets == 1


def test_a_data_key_made_during_a_rotation_is_wrapped_by_one_that_stays(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    installation.seeds.app("third")
    maker = threading.Thread(target=installation.put, args=("third", VALUE))

    def at(name: str) -> None:
        if name == "master_key.wrapped":
            maker.start()
            while not installation.seeds.count("pg_locks", "not granted"):
                pass

    # Its own connection sees the lock of the other one: the wait ends once that waits.
    monkeypatch.setattr(master_key_rotation, "failpoint", at)
    installation.rotate()
    maker.join()
    installation.retire()
    found = prove(installation.connection, installation.path)
    assert (found.secrets, found.broken) == (3, ())


def test_two_commands_do_not_change_the_file_at_once(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []

    def at(name: str) -> None:
        if name == "master_key.prepared":
            with pytest.raises(ConflictError) as caught:
                prepare(installation.connection, installation.path)
            refused.append(caught.value.message)

    monkeypatch.setattr(master_key_rotation, "failpoint", at)
    installation.rotate()
    assert len(refused) == 1


def test_a_rotation_by_another_machine_in_between_is_noticed(
    installation: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other").mkdir()
    copy = tmp_path / "other" / "master.key"
    copy.write_bytes(installation.path.read_bytes())
    rotated: list[master_key_rotation.Rotated] = []

    def at(name: str) -> None:
        if name == "master_key.prepared" and not rotated:
            rotated.append(master_key_rotation.Rotated(b"", b"", 0))
            rotated[0] = rotate(installation.connection, copy, None, ())

    monkeypatch.setattr(master_key_rotation, "failpoint", at)
    with pytest.raises(WrongMasterKeyError):
        installation.rotate()
    assert read_installed(installation.connection).id == rotated[0].new
    assert prove(installation.connection, copy).broken == ()
