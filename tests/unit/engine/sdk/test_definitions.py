"""picloud.d.rhai: written in the syntax of Rhai's language server, and whole."""

from __future__ import annotations

import re

from picloud.engine.sdk.ctx import CTX, EVENTS, REQUEST
from picloud.engine.sdk.definitions import render_definitions
from picloud.engine.sdk.library import MODULES

TEXT = render_definitions()
LINES = TEXT.splitlines()

NAME = r"[A-Za-z]\w*"
TYPE = rf"(?:\?|\(\)|{NAME}(?:<{NAME}>)?)"
TYPES = rf"{TYPE}(?: \| {TYPE})*"
PARAMETERS = rf"(?:{NAME}: {TYPES}(?:, {NAME}: {TYPES})*)?"

#: Every kind of line there is, but for comments: what the language server's parser takes at that place.
GRAMMAR = [
    r"module static;",
    rf"const {NAME}: {TYPES};",
    rf"type {NAME} = \.\.\.;",
    rf"type {NAME} = #\{{",
    rf"    {NAME}: {TYPES},",
    r"\};",
    rf"module {NAME} \{{",
    rf"(?:    )?fn (?:get )?{NAME}\({PARAMETERS}\)(?: -> {TYPES})?;",
    r"\}",
]


def is_comment(line: str) -> bool:
    return line.lstrip().startswith("//")


def test_every_line_is_one_the_language_server_knows() -> None:
    strange = [
        line
        for line in LINES
        if line and not is_comment(line) and not any(re.fullmatch(kind, line) for kind in GRAMMAR)
    ]
    assert strange == []


def test_it_begins_as_a_definition_file_must() -> None:
    assert next(line for line in LINES if line and not is_comment(line)) == "module static;"


def test_what_is_said_is_said_of_something() -> None:
    """A comment of three slashes belongs to what comes behind it: alone it is an error."""
    for line, following in zip(LINES, [*LINES[1:], ""], strict=True):
        if line.lstrip().startswith("///"):
            assert following.strip() not in ("", "}", "};"), line


def test_every_type_it_names_it_defines() -> None:
    defined = re.findall(rf"^type ({NAME}) =", TEXT, re.MULTILINE)
    assert len(defined) == len(set(defined))
    declarations = [line for line in LINES if not is_comment(line) and not line.startswith(("type", "module"))]
    named = {
        name
        for line in declarations
        for types in re.findall(rf"(?:: |-> )({TYPES})", line)
        for name in re.findall(NAME, types)
    }
    plain = {"String", "int", "float", "bool", "Blob", "Array", "Map", "FnPtr"}
    assert named - plain == set(defined)


def test_every_function_is_in_its_module_in_every_form() -> None:
    module = ""
    found: list[tuple[str, str, int]] = []
    for line in LINES:
        if (start := re.match(r"module (\w+) \{", line)) is not None:
            module = start[1]
        elif line == "}":
            module = ""
        elif (function := re.match(r"\s*fn (\w+)\((.*)\)(?: ->|;)", line)) is not None:
            found.append((module, function[1], function[2].count(":")))
    expected = [
        ("" if function.is_global else each.name, function.name, len(form))
        for each in MODULES
        for function in each.functions
        for form in function.forms()
    ]
    expected += [
        ("", method.name, len(form) + 1)
        for each in MODULES
        for host_type in each.types
        for method in host_type.methods
        for form in method.forms()
    ]
    assert sorted(found) == sorted(expected)


def test_ctx_and_every_event_have_all_their_members() -> None:
    for shape in (CTX, REQUEST, *EVENTS.values()):
        body = TEXT.partition(f"type {shape.name} = #{{\n")[2].partition("\n};")[0]
        assert re.findall(rf"^    ({NAME}): ", body, re.MULTILINE) == [member.name for member in shape.members]
