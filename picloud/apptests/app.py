"""The app under test: what its manifest and its files say, compiled once for all tests of a session."""

from __future__ import annotations

from collections.abc import Mapping

from picloud.apptests.errors import NoSuchScriptError
from picloud.engine import ScriptLimits, ScriptRunner
from picloud.manifest import Manifest, RouteEntry, ScriptEntry
from picloud.manifest.route_table import RouteTable
from picloud.services.catalog import Catalog
from picloud.settings import Settings

APP_ID = 1
#: Of every script: nothing is deployed twice in a test.
VERSION = 1
#: Of every test file: ids and versions of the two never meet.
TEST_VERSION = 0

Version = tuple[int, int]


class AppUnderTest:
    """Scripts, routes, triggers and queues of one app.

    Attributes:
        scripts: entries by name.
        tests: sources of test files and of what they import, by name (``tests/orders``), as they are compiled.
    """

    def __init__(
        self,
        manifest: Manifest,
        files: Mapping[str, str],
        tests: Mapping[str, str],
        runner: ScriptRunner,
    ) -> None:
        self.manifest = manifest
        self.settings = Settings()
        self.runner = runner
        self.tests = dict(tests)
        self.scripts: dict[str, ScriptEntry] = {entry.name: entry for entry in manifest.scripts_of(files)}
        self.routes: RouteTable[RouteEntry] = RouteTable(manifest.routes)
        self.triggers = tuple(entry.trigger for entry in manifest.triggers if entry.trigger.enabled)
        self._sources = {entry.name: files[entry.file] for entry in self.scripts.values()}
        own = {name: (number, VERSION) for number, name in enumerate(self.scripts, 1)}
        of_tests = {name: (number, TEST_VERSION) for number, name in enumerate(self.tests, 1)}
        self._names = {version: name for names in (own, of_tests) for name, version in names.items()}
        self.catalog = Catalog(own, frozenset(manifest.queue_names), ())
        #: What a test file can import: the app's scripts, and files beside itself.
        self.catalog_of_tests = Catalog(of_tests | own, self.catalog.queues, ())

    def version(self, script: str) -> Version:
        """Id and version of a script.

        Raises:
            NoSuchScriptError: the app has none of this name.
        """
        if script not in self.scripts:
            raise NoSuchScriptError(script, self.scripts)
        return self.catalog.scripts[script]

    def source(self, version: Version) -> str:
        """What is compiled for a version of a catalog."""
        name = self._names[version]
        return self.tests[name] if version[1] == TEST_VERSION else self._sources[name]

    def limits(self, script: str) -> ScriptLimits:
        return ScriptLimits(**self.scripts[script].limits())  # type: ignore[arg-type]  # the names are the same

    def file_of(self, script: str) -> str:
        """Where a script or a test file is, inside the app's folder."""
        return self.scripts[script].file if script in self.scripts else f"{script}.rhai"
