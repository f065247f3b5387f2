"""Secrets from the call that sets them to the run that reads them, over a real PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import psycopg
import psycopg_pool
import pytest

from picloud.access import InstanceRole, Principal
from picloud.control.records import Connection
from picloud.control.secrets import Secret, list_secrets, remove_secret, rotate_data_key, set_secret
from picloud.errors import ConfigurationError, NotFoundError
from picloud.services.vault import BrokenSealError, MasterKeyError, SecretReader, Vault, WrongMasterKeyError
from tests.seeding import Seeds

pytestmark = pytest.mark.integration

Value = TypeVar("Value")
Change: TypeAlias = Callable[[Connection], Awaitable[Value]]

MASTER = bytes(range(32))
VALUE = "sk_live_51Hxx-quite-secret"


def master_key() -> tuple[bytes, ...]:
    return (MASTER,)


def no_master_key() -> tuple[bytes, ...]:
    raise ConfigurationError("master key /nowhere: No such file or directory", hint="copy it")


@pytest.fixture
def seeds(database_url: str) -> Iterator[Seeds]:
    with psycopg.connect(database_url, autocommit=True) as connection:
        yield Seeds(connection)


@pytest.fixture
def pool(database_url: str) -> Iterator[Any]:
    with psycopg_pool.ConnectionPool(database_url, kwargs={"autocommit": True}, min_size=0, max_size=4) as pool:
        yield pool


class Setter:
    """Changes secrets as the web process does, each in a transaction of its own."""

    def __init__(self, url: str, seeds: Seeds) -> None:
        self._url = url
        self._admin = Principal(seeds.admin_id, "user", "admin", InstanceRole.OWNER)

    async def in_transaction(self, change: Change[Value]) -> Value:
        async with (
            await psycopg.AsyncConnection.connect(self._url, autocommit=True) as connection,
            connection.transaction(),
        ):
            return await change(connection)

    async def setting(self, app: str, name: str, value: str, vault: Vault) -> Secret:
        return await self.in_transaction(
            lambda connection: set_secret(connection, vault, app, self._admin, name=name, value=value)
        )

    def __call__(self, app: str, name: str, value: str = VALUE, vault: Vault | None = None) -> Secret:
        return asyncio.run(self.setting(app, name, value, vault or Vault(master_key)))

    def remove(self, app: str, name: str) -> None:
        asyncio.run(self.in_transaction(lambda connection: remove_secret(connection, app, name)))


@pytest.fixture
def put(database_url: str, seeds: Seeds) -> Setter:
    return Setter(database_url, seeds)


def test_a_run_reads_what_was_set_last(seeds: Seeds, pool: Any, put: Setter) -> None:
    app = seeds.app()
    reader = SecretReader(pool, master_key)
    assert put("shop", "KEY", "first").version == 1
    assert reader.get(app, "KEY") == "first"
    assert put("shop", "KEY", "second").version == 2
    assert reader.get(app, "KEY") == "second"
    put.remove("shop", "KEY")
    put("shop", "KEY", "third")
    assert reader.get(app, "KEY") == "third"


def test_there_is_none_until_it_is_set_and_after_it_was_removed(seeds: Seeds, pool: Any, put: Setter) -> None:
    app = seeds.app()
    reader = SecretReader(pool, no_master_key)
    with pytest.raises(NotFoundError, match="no secret 'KEY'") as caught:
        reader.get(app, "KEY")
    assert caught.value.hint == "`picloud secrets set shop KEY` sets it"
    put("shop", "KEY")
    put.remove("shop", "KEY")
    with pytest.raises(NotFoundError):
        reader.get(app, "KEY")
    with pytest.raises(NotFoundError, match="shop has no secret 'KEY'"):
        put.remove("shop", "KEY")


@pytest.mark.parametrize("name", ["", "a\0b", "../KEY", "x" * 5_000, "%", "\ud800"])
def test_a_name_that_cannot_be_is_not_there(seeds: Seeds, pool: Any, name: str) -> None:
    with pytest.raises(NotFoundError):
        SecretReader(pool, master_key).get(seeds.app(), name)


def test_of_an_app_that_is_not_there_nothing_is(pool: Any) -> None:
    with pytest.raises(NotFoundError):
        SecretReader(pool, master_key).get(99, "KEY")


def test_an_app_reads_its_own_only(seeds: Seeds, pool: Any, put: Setter) -> None:
    shop, other = seeds.app("shop"), seeds.app("other")
    put("shop", "KEY", "of shop")
    put("other", "KEY", "of other")
    reader = SecretReader(pool, master_key)
    assert (reader.get(shop, "KEY"), reader.get(other, "KEY")) == ("of shop", "of other")
    put.remove("other", "KEY")
    with pytest.raises(NotFoundError):
        reader.get(other, "KEY")


def test_a_row_copied_to_another_app_or_name_does_not_open(seeds: Seeds, pool: Any, put: Setter) -> None:
    shop, other = seeds.app("shop"), seeds.app("other")
    put("shop", "KEY", "of shop")
    put("other", "KEY", "of other")
    seeds.connection.execute(
        "insert into secrets (app_id, name, version, sealed, data_key_id, created_by)"
        " select app_id, 'COPY', version, sealed, data_key_id, created_by from secrets where app_id = %s",
        (shop,),
    )
    seeds.connection.execute(  # with the data key that sealed it, as the superuser of a server could
        "update data_keys k set wrapped = s.wrapped, master_key_id = s.master_key_id"
        " from data_keys s where k.app_id = %s and s.app_id = %s",
        (other, shop),
    )
    seeds.connection.execute(
        "update secrets set sealed = (select sealed from secrets where app_id = %s and name = 'KEY') where app_id = %s",
        (shop, other),
    )
    reader = SecretReader(pool, master_key)
    for app, name in ((other, "KEY"), (shop, "COPY")):
        with pytest.raises(BrokenSealError):
            reader.get(app, name)
    seeds.connection.execute("update secrets set version = 2 where name = 'KEY' and app_id = %s", (shop,))
    with pytest.raises(BrokenSealError):
        reader.get(shop, "KEY")


def test_a_worker_without_the_right_master_key_says_so(seeds: Seeds, pool: Any, put: Setter) -> None:
    app = seeds.app()
    put("shop", "KEY")
    with pytest.raises(MasterKeyError, match="secrets need the master key: master key /nowhere: No such file"):
        SecretReader(pool, no_master_key).get(app, "KEY")
    with pytest.raises(WrongMasterKeyError):
        SecretReader(pool, lambda: (b"w" * 32,)).get(app, "KEY")


def test_nothing_is_set_with_the_wrong_master_key(seeds: Seeds, pool: Any, put: Setter) -> None:
    app = seeds.app()
    put("shop", "KEY", "first")
    with pytest.raises(WrongMasterKeyError):
        put("shop", "KEY", "second", Vault(lambda: (b"w" * 32,)))
    assert SecretReader(pool, master_key).get(app, "KEY") == "first"
    assert seeds.count("data_keys") == 1


def test_the_database_holds_no_value(seeds: Seeds, put: Setter) -> None:
    seeds.app()
    put("shop", "KEY")
    rows = seeds.connection.execute("select secrets::text, sealed from secrets").fetchall()
    keys = seeds.connection.execute("select data_keys::text, wrapped from data_keys").fetchall()
    assert VALUE not in str(rows)
    assert VALUE.encode().hex() not in str(rows)
    assert MASTER not in keys[0][1]


def test_first_secrets_set_at_once_end_up_with_one_master_key_and_a_data_key_an_app(
    seeds: Seeds, pool: Any, put: Setter
) -> None:
    apps = {f"app{number}": seeds.app(f"app{number}") for number in range(8)}

    async def all_at_once() -> None:
        # A vault each: as many processes.
        await asyncio.gather(*(put.setting(name, "KEY", f"of {name}", Vault(master_key)) for name in apps))

    asyncio.run(all_at_once())
    assert (seeds.count("master_key"), seeds.count("data_keys")) == (1, len(apps))
    reader = SecretReader(pool, master_key)
    assert [reader.get(app, "KEY") for app in apps.values()] == [f"of {name}" for name in apps]


def test_a_master_key_whose_writer_rolled_back_is_written_by_who_waited(
    database_url: str, seeds: Seeds, pool: Any, put: Setter
) -> None:
    app = seeds.app()
    seeds.app("other")

    async def race() -> None:
        async def fail(connection: Connection) -> None:
            admin = Principal(seeds.admin_id, "user", "admin", InstanceRole.OWNER)
            await set_secret(connection, Vault(master_key), "other", admin, name="KEY", value=VALUE)
            waiting = asyncio.create_task(put.setting("shop", "KEY", VALUE, Vault(master_key)))
            while not seeds.count("pg_locks", "not granted"):
                await asyncio.sleep(0.005)
            tasks.append(waiting)
            raise ZeroDivisionError

        tasks: list[asyncio.Task[Secret]] = []
        with pytest.raises(ZeroDivisionError):
            await put.in_transaction(fail)
        await tasks[0]

    asyncio.run(race())
    assert SecretReader(pool, master_key).get(app, "KEY") == VALUE
    assert (seeds.count("master_key"), seeds.count("data_keys")) == (1, 1)


def test_versions_count_every_set_also_at_once(seeds: Seeds, pool: Any, put: Setter) -> None:
    app = seeds.app()

    async def all_at_once() -> list[Secret]:
        vault = Vault(master_key)
        return await asyncio.gather(*(put.setting("shop", "KEY", f"value {each}", vault) for each in range(6)))

    versions = [secret.version for secret in asyncio.run(all_at_once())]
    assert sorted(versions) == [1, 2, 3, 4, 5, 6]
    assert SecretReader(pool, master_key).get(app, "KEY") == f"value {versions.index(6)}"


def test_many_threads_read_through_one_reader(seeds: Seeds, pool: Any, put: Setter) -> None:
    app = seeds.app()
    names = [f"KEY_{number}" for number in range(8)]
    for name in names:
        put("shop", name, f"value of {name}")
    reader = SecretReader(pool, master_key)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda name: reader.get(app, name), names * 8))
    assert found == [f"value of {name}" for name in names] * 8


def test_no_secret_is_sealed_with_the_data_key_of_another_app(seeds: Seeds, put: Setter) -> None:
    shop, other = seeds.app(), seeds.app("other")
    put("shop", "KEY")
    put("other", "KEY")
    with pytest.raises(psycopg.errors.ForeignKeyViolation):
        seeds.connection.execute(
            "update secrets set data_key_id = (select id from data_keys where app_id = %s) where app_id = %s",
            (other, shop),
        )


def test_secrets_go_with_their_app(seeds: Seeds, put: Setter) -> None:
    app = seeds.app()
    put("shop", "KEY")
    seeds.connection.execute("delete from apps where id = %s", (app,))
    assert seeds.count("secrets") == 0


def test_lists_are_in_the_order_of_their_pages(seeds: Seeds, put: Setter) -> None:
    seeds.app()
    for name in ("b", "_x", "B", "a.b", "A"):
        put("shop", name)

    async def pages() -> list[str]:
        async def page(after: str | None) -> Any:
            return await put.in_transaction(lambda connection: list_secrets(connection, "shop", limit=2, after=after))

        found: list[str] = []
        after: str | None = None
        while True:
            here = await page(after)
            found += [each.name for each in here.items]
            after = here.next
            if after is None:
                return found

    assert asyncio.run(pages()) == ["A", "B", "_x", "a.b", "b"]


# A new data key


def _rotate(put: Setter, app: str = "shop") -> int:
    return asyncio.run(
        put.in_transaction(lambda connection: rotate_data_key(connection, Vault(master_key), app))
    ).secrets


def test_an_app_gets_a_new_data_key_and_every_value_and_version_stays(seeds: Seeds, pool: Any, put: Setter) -> None:
    shop, other = seeds.app("shop"), seeds.app("other")
    for name, value in (("A", "first"), ("A", "second"), ("B", VALUE)):
        put("shop", name, value)
    put("other", "A", "of other")
    before = dict(seeds.connection.execute("select app_id, id from data_keys").fetchall())
    sealed = seeds.connection.execute("select app_id, name, version, created_at from secrets order by 1, 2").fetchall()
    reader = SecretReader(pool, master_key)
    assert reader.get(shop, "A") == "second"
    assert _rotate(put) == 2
    after = dict(seeds.connection.execute("select app_id, id from data_keys").fetchall())
    assert after[shop] != before[shop]
    assert after[other] == before[other]
    assert [reader.get(shop, "A"), reader.get(shop, "B"), reader.get(other, "A")] == ["second", VALUE, "of other"]
    again = seeds.connection.execute("select app_id, name, version, created_at from secrets order by 1, 2").fetchall()
    assert again == sealed


def test_an_app_without_secrets_has_nothing_to_rotate(seeds: Seeds, put: Setter) -> None:
    seeds.app()
    assert _rotate(put) == 0
    assert seeds.count("data_keys") == 0
    with pytest.raises(NotFoundError):
        _rotate(put, "nothing")


def test_a_secret_that_does_not_open_stops_the_rotation_and_nothing_is_changed(
    seeds: Seeds, pool: Any, put: Setter
) -> None:
    app = seeds.app()
    put("shop", "GOOD")
    put("shop", "WRONG")
    seeds.connection.execute("update secrets set sealed = sealed || '\\x00' where name = 'WRONG'")
    with pytest.raises(BrokenSealError, match="secret WRONG cannot be opened"):
        _rotate(put)
    assert SecretReader(pool, master_key).get(app, "GOOD") == VALUE
    assert seeds.count("data_keys") == 1


def test_runs_read_while_data_keys_are_rotated(seeds: Seeds, pool: Any, put: Setter) -> None:
    app = seeds.app()
    put("shop", "KEY")
    reader = SecretReader(pool, master_key)
    with ThreadPoolExecutor(2) as threads:
        rotated = threads.submit(lambda: [_rotate(put) for _ in range(10)])
        while not rotated.done():
            assert reader.get(app, "KEY") == VALUE
    assert rotated.result() == [1] * 10
