"""Writes the generated parts of ``docs/scripts.md``; what stands around them is written by people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from picloud.engine.sdk.ctx import CTX, EVENTS, REQUEST
from picloud.engine.sdk.description import Parameter, SdkFunction, SdkModule, SdkType
from picloud.engine.sdk.library import MODULES
from picloud.engine.sdk.shapes import Shape

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end of \2 -->\n)", re.DOTALL)


def render_page(page: str, modules: Iterable[SdkModule] = MODULES) -> str:
    """The page with its generated parts written anew.

    Raises:
        ValueError: the page has not exactly the parts there are.
    """
    modules = tuple(modules)
    parts = {"ctx": _ctx(), "events": _events(), "contents": _contents(modules), "modules": render_modules(modules)}
    return replace_parts(page, parts)


def replace_parts(page: str, parts: Mapping[str, str]) -> str:
    """The page with each part, between ``<!-- generated: NAME -->`` and ``<!-- end of NAME -->``, written anew.

    Raises:
        ValueError: the page has not exactly these parts.
    """
    found = [match[2] for match in _PART.finditer(page)]
    if sorted(found) != sorted(parts):
        raise ValueError(f"the page has the generated parts {found}, expected are {list(parts)}")
    return _PART.sub(lambda match: f"{match[1]}\n{parts[match[2]].strip()}\n\n{match[3]}", page)


def _ctx() -> str:
    return f"{_table('ctx.', CTX)}\n{_table('ctx.request.', REQUEST)}"


def _events() -> str:
    blocks: list[str] = []
    for source, shape in EVENTS.items():
        members = [f"- `{each.name}`, `{each.type}`: {each.doc}" for each in shape.members[1:]]
        listed = "\n".join(["- the members of `ctx.request`"] if source == "http" else members)
        blocks.append(f"**`{source}`** {shape.doc}\n\n{listed}")
    return "\n\n".join(blocks)


def _table(prefix: str, shape: Shape) -> str:
    lines = [f"| `{prefix}…` | type | |", "|---|---|---|"]
    for each in shape.members:
        written = "see below" if each.name == "event" else f"`{each.type}`"
        lines.append(f"| `{each.name}` | {_cell(written)} | {_cell(each.doc)} |")
    return "\n".join(lines) + "\n"


def _contents(modules: tuple[SdkModule, ...]) -> str:
    lines = ["| module | functions |", "|---|---|"]
    for module in modules:
        names = [f"`{each.name}`" for each in module.functions]
        names += [f"`.{each.name}`" for kind in module.types for each in (*kind.getters, *kind.methods)]
        lines.append(f"| [`{module.name}`](#{module.name}) | {', '.join(names)} |")
    return "\n".join(lines)


def render_modules(modules: Iterable[SdkModule]) -> str:
    """Every function and type of some modules."""
    return "\n".join(_module(module) for module in modules)


def _module(module: SdkModule) -> str:
    blocks = [f"## {module.name}\n\n{module.doc.text}\n"]
    blocks += [_function(each, "" if each.is_global else f"{module.name}::") for each in module.functions]
    blocks += [_type(each) for each in module.types]
    return "\n".join(blocks)


def _type(host_type: SdkType) -> str:
    holder = host_type.name.lower()
    blocks = [f"### `{host_type.name}`\n\n{host_type.doc.text}\n"]
    blocks += [_property(each, holder) for each in host_type.getters]
    blocks += [_function(each, f"{holder}.") for each in host_type.methods]
    return "\n".join(blocks)


def _property(getter: SdkFunction, holder: str) -> str:
    name = f"{holder}.{getter.name}"
    return f"### `{name}`\n\n```rhai\n{name} -> {getter.returns}\n```\n\n{getter.doc.text}\n"


def _function(function: SdkFunction, prefix: str) -> str:
    signatures = "\n".join(_signature(function, prefix, form) for form in function.forms())
    blocks = [f"### `{prefix}{function.name}`", f"```rhai\n{signatures}\n```", function.doc.text]
    listed = [f"- `{each.name}`: {each.doc}" for each in function.parameters if each.doc]
    listed += [_shape(each.name, each.shape) for each in function.parameters if each.shape is not None]
    if function.returned_shape is not None:
        listed.append(_shape("…", function.returned_shape))
    if listed:
        blocks.append("\n".join(listed))
    blocks += [f"Throws `{code}`: {when}" for code, when in function.doc.throws.items()]
    if function.doc.example:
        blocks.append(f"```rhai\n{function.doc.example}\n```")
    return "\n\n".join(blocks) + "\n"


def _signature(function: SdkFunction, prefix: str, form: tuple[Parameter, ...]) -> str:
    answer = "" if function.returns == "()" else f" -> {function.returns}"
    return f"{prefix}{function.name}({', '.join(f'{each.name}: {each.type}' for each in form)}){answer}"


def _shape(holder: str, shape: Shape) -> str:
    """The members of a map, without a line for each that says nothing but its name."""
    lines = [f"- `{holder}.{each.name}`, `{each.type}`: {each.doc}" for each in shape.members if each.doc]
    if plain := [f"`{each.name}`" for each in shape.members if not each.doc]:
        lines.append(f"- {'and ' if lines else f'`{holder}` with '}{', '.join(plain)}")
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
