"""From a manifest and files to what a deploy is to make of an app."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from picloud.control.drafts import Draft, limits_of
from picloud.control.plan import Wanted
from picloud.control.routes import route_key
from picloud.errors import InvalidInputError, ManifestError
from picloud.manifest import SCRIPT_SUFFIX, Manifest, parse_manifest


def read_wanted(
    app_name: str, manifest: Mapping[str, Any], files: Mapping[str, str], *, cancels_waiting: bool = False
) -> Wanted:
    """The manifest and the files as one. Raises: ManifestError."""
    parsed = parse_manifest(manifest)
    strangers = sorted(path for path in files if not path.endswith(SCRIPT_SUFFIX))
    if strangers:
        raise InvalidInputError(f"files: {strangers[0]!r} is not a script; only *{SCRIPT_SUFFIX} files are deployed")
    if parsed.app != app_name:
        raise ManifestError(f"picloud.toml: app.name: is {parsed.app!r}, but the request deploys {app_name!r}")
    whole = _in_one_form(parsed, files)
    drafts = {entry.name: Draft(entry.name, entry.file, files[entry.file], limits_of(entry)) for entry in whole.scripts}
    return wanted_by(whole, drafts, cancels_waiting=cancels_waiting)


def _in_one_form(manifest: Manifest, files: Mapping[str, str]) -> Manifest:
    """The manifest with every script there is, in the order of names: of the same content there is one."""
    return replace(
        manifest,
        scripts=tuple(sorted(manifest.scripts_of(files), key=lambda entry: entry.name)),
        routes=tuple(sorted(manifest.routes, key=lambda route: (route.path, route.method))),
        triggers=tuple(sorted(manifest.triggers, key=lambda entry: entry.trigger.name)),
        queues=tuple(sorted(manifest.queues, key=lambda queue: queue.name)),
        secrets=tuple(sorted(manifest.secrets)),
    )


def wanted_by(manifest: Manifest, drafts: Mapping[str, Draft], *, cancels_waiting: bool) -> Wanted:
    """A manifest that names every script, and the scripts, as one."""
    return Wanted(
        manifest,
        drafts,
        {route_key(route.method, route.path): route for route in manifest.routes},
        {entry.trigger.name: entry.trigger for entry in manifest.triggers},
        frozenset(manifest.queue_names),
        cancels_waiting,
    )
