"""Reads ``picloud.toml``: what an app consists of, checked before anything is sent or stored.

The CLI reads the file (``load_manifest``) and sends it as JSON; the control API
reads that JSON with the same rules (``parse_manifest``). It opens no script and
compiles nothing. Every problem is reported in one go, each as ``file: place:
message``, with line and column when the manifest was read from text.

* ``entries``: the manifest as data
* ``names``: what names, files and paths may look like
* ``positions``: where keys and values stand in the text
* ``route_table``: which of an app's routes answers a request
* ``reading``: from TOML or JSON to a ``Manifest``
* ``scripts``, ``triggers``: the tables of that name
* ``syntax``: what is wrong with a text that is no TOML
* ``tables``: handing out checked values, collecting what is wrong
"""

from picloud.manifest.entries import DispatchMode, Manifest, QueueEntry, RouteEntry, ScriptEntry, TriggerEntry
from picloud.manifest.names import (
    METHODS,
    SCRIPT_SUFFIX,
    path_shape,
    script_name,
    wrong_app_name,
    wrong_path,
    wrong_script_name,
)
from picloud.manifest.reading import (
    FILE_NAME,
    ManifestText,
    examine_manifest,
    load_manifest,
    parse_manifest,
    read_manifest,
)
from picloud.manifest.tables import Problem, did_you_mean

__all__ = [
    "FILE_NAME",
    "METHODS",
    "SCRIPT_SUFFIX",
    "DispatchMode",
    "Manifest",
    "ManifestText",
    "Problem",
    "QueueEntry",
    "RouteEntry",
    "ScriptEntry",
    "TriggerEntry",
    "did_you_mean",
    "examine_manifest",
    "load_manifest",
    "parse_manifest",
    "path_shape",
    "read_manifest",
    "script_name",
    "wrong_app_name",
    "wrong_path",
    "wrong_script_name",
]
