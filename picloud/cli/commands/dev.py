"""``picloud dev``: every save of an app folder deployed at once, with what the app logs and where it fails.

Two threads: this one sleeps until a file changes and deploys, the other reads what the app does. What one of
them prints stays in one piece. Nothing but Ctrl-C ends it once it has begun: a folder with problems waits for
the next save, a server that is away is waited for.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import click

from picloud.cli import watching
from picloud.cli.client import Client, api_path
from picloud.cli.commands.check import folder_argument, read_folder, refusals_shown
from picloud.cli.commands.deploy import ANSWER_SECONDS, print_plan
from picloud.cli.commands.logs import print_lines
from picloud.cli.excerpts import print_problems
from picloud.cli.help import example
from picloud.cli.options import chosen_context, context_option, surroundings, yes_option
from picloud.cli.output import complain, dim, note
from picloud.cli.tail import Failure, Tail
from picloud.errors import (
    AuthenticationError,
    CapacityError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    PiCloudError,
    UnavailableError,
)

if TYPE_CHECKING:
    # Imported when the command runs: its help must not pay for them.
    from picloud.cli.app_folder import AppFolder
    from picloud.manifest import Problem
    from picloud.profiles import Profile

_TRY_AGAIN_SECONDS = 1.0
#: What has become of a run, by its status after the attempt with that number.
_OUTCOMES = {
    "pending": "attempt {} failed and is made again",
    "failed": "the run failed",
    "dead": "attempt {} failed, and the event is a dead letter now",
}


@example("picloud dev demo")
@click.command()
@folder_argument
@yes_option
@context_option
def dev(directory: Path, *, yes: bool) -> None:
    """Deploy an app folder on every save, and follow what the app does.

    Prints what each save changed, problems with the line they are on, what scripts log and
    where they fail. It works with a platform on this machine (`picloud up`); another server is
    named with --context, or confirmed with --yes. Ctrl-C ends it; the app stays deployed.
    """
    from picloud.manifest import FILE_NAME, read_manifest

    read_manifest(directory / FILE_NAME)  # a folder that is no app is a mistake, not work in progress
    server = _Server(_profile_source(yes=yes))
    session = _Session(directory, server)
    note(f"watching {directory}: every save is deployed to {server.url}; Ctrl-C ends")
    try:
        session.update()
        for is_changed in watching.changes(directory):
            if not directory.is_dir():
                raise NotFoundError(f"{directory} is gone")
            if is_changed or session.is_app_gone:
                session.update()
    except KeyboardInterrupt:
        note("\nnot watching any more; what was deployed stays")
        raise
    finally:
        session.stop()


class _Server:
    """The server everything goes to, and whether the user knows that it is away."""

    def __init__(self, profile: Callable[[], Profile]) -> None:
        self._profile = profile
        self._transport = surroundings().transport
        self._is_away = False
        #: Held while something is printed.
        self.screen = threading.RLock()
        self.url = profile().url

    def connect(self) -> Client:
        """A client with the key of this moment: a platform that was set up anew has another one."""
        profile = self._profile()
        self.url = profile.url
        return Client(profile, transport=self._transport)

    def is_away(self, error: PiCloudError) -> None:
        """Tell it once, however often and by whomever it is noticed."""
        with self.screen:
            if not self._is_away:
                is_silent = isinstance(error, UnavailableError) and "does not answer" in error.message
                how = "; start it with `picloud up` in another terminal" if is_silent and _is_local(self.url) else ""
                note(f"{error.message}{how}; waiting for it")
            self._is_away = True

    def is_back(self) -> None:
        with self.screen:
            if self._is_away:
                note(f"{self.url} answers")
            self._is_away = False


class _Session:
    """One folder on its way to one server, save by save."""

    def __init__(self, directory: Path, server: _Server) -> None:
        self._directory = directory
        self._server = server
        self._seen: object = None
        #: What was deployed last.
        self._folder: AppFolder | None = None
        self._tail: Tail | None = None
        self._stopping = threading.Event()
        self._app_gone = threading.Event()

    @property
    def is_app_gone(self) -> bool:
        """The server has come back without the app, or somebody has removed it."""
        return self._app_gone.is_set()

    def stop(self) -> None:
        """Let the other thread end; it is not waited for, because it may wait for the server."""
        self._stopping.set()

    def update(self) -> None:
        """Make the server have what the folder holds, however long that takes; problems are told instead."""
        from picloud.cli.app_folder import contents_of

        while (contents := contents_of(self._directory)) != self._seen or self._app_gone.is_set():
            self._seen = contents
            folder = self._examined()
            while folder is not None and not self._is_sent(folder):
                surroundings().pause(_TRY_AGAIN_SECONDS)
                if contents_of(self._directory) != contents:
                    break
            if folder is None:
                self._stop_following()

    def _examined(self) -> AppFolder | None:
        with self._server.screen:
            try:
                return read_folder(self._directory)
            except InvalidInputError as error:
                complain(error.message, error.hint)
                return None

    def _is_sent(self, folder: AppFolder) -> bool:
        """Deploy; False when the server has to be waited for.

        Raises:
            AuthenticationError: the key was never valid.
        """
        app = folder.manifest.app
        tail = self._tail if self._tail is not None and self._tail.app == app else Tail(app)
        try:
            with self._server.connect() as client:
                if tail is not self._tail:
                    tail.begin(client)
                started_at = time.monotonic()
                plan = client.post(api_path("apps", app, "deploy"), folder.to_data(), answer_seconds=ANSWER_SECONDS)
        except (UnavailableError, CapacityError, AuthenticationError) as error:
            if isinstance(error, AuthenticationError) and self._folder is None:
                raise
            self._server.is_away(error)  # or set up anew: then the profile soon has another key
            return False
        except PiCloudError as error:
            self._tell_refusal(error)
            self._stop_following()
            return True
        self._server.is_back()
        self._app_gone.clear()
        self._show(folder, plan, time.monotonic() - started_at)
        self._follow(tail)
        return True

    def _tell_refusal(self, error: PiCloudError) -> None:
        with self._server.screen:
            try:
                with refusals_shown(self._directory):
                    raise error
            except PiCloudError as told:
                complain(told.message, told.hint)

    def _show(self, folder: AppFolder, plan: dict[str, Any], seconds: float) -> None:
        is_first = self._folder is None or self._folder.manifest.app != folder.manifest.app
        self._folder = folder
        with self._server.screen:
            print_plan(plan)
            if is_first or any(change["kind"] == "route" for change in plan["changes"]):
                _print_urls(folder, self._server.url)
            note(f"{time.strftime('%H:%M:%S')} deployed in {seconds * 1_000:.0f} ms")

    # The other thread

    def _follow(self, tail: Tail) -> None:
        """Read what the app does from now on, in a thread of its own."""
        if tail is self._tail:
            return
        self._tail = tail
        context = click.get_current_context()

        def run() -> None:
            with context.scope(cleanup=False):  # colors and surroundings are the command's in here too
                self._read_on(tail)

        _follow_in_a_thread(run)

    def _stop_following(self) -> None:
        """Until the next deploy succeeds: an app that is gone and cannot be deployed is told once."""
        if self._app_gone.is_set():
            self._tail = None
            self._app_gone.clear()

    def _is_followed(self, tail: Tail) -> bool:
        return self._tail is tail and not self._stopping.is_set()

    def _read_on(self, tail: Tail) -> None:
        while self._is_followed(tail):
            try:
                with self._server.connect() as client:
                    while self._is_followed(tail):
                        self._tell(*tail.turn(client))
            except NotFoundError:
                if self._is_followed(tail):
                    self._app_gone.set()
            except PermissionDeniedError as error:
                note(f"logs and failures are not shown: {error.message}")
                return
            except PiCloudError as error:
                self._server.is_away(error)
            self._stopping.wait(_TRY_AGAIN_SECONDS)

    def _tell(self, lines: list[dict[str, Any]], failures: list[Failure]) -> None:
        self._server.is_back()
        with self._server.screen:
            print_lines(lines)
            print_problems((self._problem(failure) for failure in failures), err=False)

    def _problem(self, failure: Failure) -> Problem:
        """A failed run as a problem of the file it failed in."""
        from picloud.manifest import Problem

        names = {} if self._folder is None else {name: file for file, name in self._folder.names.items()}
        file = names.get(failure.script or "")
        message = failure.error.get("message") or failure.error.get("code")
        what = f"{_OUTCOMES[failure.status].format(failure.attempt)}: {message}  {failure.execution_id}"
        if file is None:
            return Problem(failure.script or "(gone)", 0, 0, what)
        place = (failure.error.get("line") or 0, failure.error.get("column") or 0)
        return Problem(str(self._directory / file), *place, what)


def _follow_in_a_thread(run: Callable[[], None]) -> None:
    threading.Thread(target=run, name="logs", daemon=True).start()


def _print_urls(folder: AppFolder, url: str) -> None:
    app = folder.manifest.app
    routes = folder.manifest.routes
    width = max((len(route.method) for route in routes), default=0)
    for route in routes:
        mode = f"  {dim('async')}" if route.dispatch_mode == "async" else ""
        click.echo(f"{route.method.ljust(width)} {url}/@{app}{route.path}{mode}")
    if routes and _is_local(url):
        port = urlsplit(url).port
        note(f"in a browser: http://{app}.localhost{f':{port}' if port else ''}/")


def _profile_source(*, yes: bool) -> Callable[[], Profile]:
    """What gives the profile of the moment; always the same one, whatever `picloud context use` does meanwhile.

    Raises:
        AuthenticationError: no server is known.
        InvalidInputError: it is another machine's, and nobody said that it is meant.
    """
    from picloud.profiles import load_profile, load_profiles

    environ = surroundings().environ
    is_meant = yes or chosen_context() is not None
    from_environment = chosen_context() is None and bool(environ.get("PICLOUD_URL") or environ.get("PICLOUD_TOKEN"))
    name = chosen_context() or (None if from_environment else load_profiles(environ).current)

    def profile() -> Profile:
        found = load_profile(environ, name)
        if not (is_meant or _is_local(found.url)):
            raise InvalidInputError(
                f"{found.url} is not on this machine, and every save would be deployed to it",
                hint="`picloud up` starts a platform here; `--context NAME` or `--yes` says that you mean this one",
            )
        return found

    profile()
    return profile


def _is_local(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
