"""Writes ``picloud.d.rhai``, which tells editors what scripts can call.

The syntax is that of Rhai's language server, as ``Engine::definitions().single_file()`` writes it: a header
``module static;``, then types, constants, functions and ``module name { … }``. There are no optional parameters, so a
function is written once for each number of arguments; methods are functions whose first parameter is the object.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from picloud.engine.sdk.ctx import CTX, EVENTS, REQUEST
from picloud.engine.sdk.description import SdkFunction, SdkModule, SdkType
from picloud.engine.sdk.docstrings import Docstring
from picloud.engine.sdk.library import MODULES
from picloud.engine.sdk.shapes import Shape

_HEADER = """\
// What PiCloud gives to every script, for people and editors. It is never deployed or run, and it is generated: the
// pages to read are docs/scripts.md, and https://rhai.rs/book for the language itself.

module static;
"""


def render_definitions(modules: Iterable[SdkModule] = MODULES) -> str:
    """The whole file."""
    modules = tuple(modules)
    blocks = [_HEADER]
    blocks += [_shape(shape) for shape in (REQUEST, *EVENTS.values(), CTX)]
    blocks.append(f"{_comment(CTX.doc)}const ctx: {CTX.name};\n")
    for module in modules:
        blocks += [_opaque(each) for each in module.types]
        blocks += [_shape(each) for each in dict.fromkeys(_shapes(module))]
        blocks += [function for each in module.types for function in _members(each)]
        blocks += [_function(each) for each in module.functions if each.is_global]
        blocks.append(_module(module))
    return "\n".join(blocks)


def _shapes(module: SdkModule) -> Iterator[Shape]:
    """The maps its functions take and give."""
    for function in (*module.functions, *(method for each in module.types for method in each.methods)):
        for shape in (*(parameter.shape for parameter in function.parameters), function.returned_shape):
            if shape is not None:
                yield shape


def _module(module: SdkModule) -> str:
    functions = "\n".join(_function(each) for each in module.functions if not each.is_global)
    return f"{_comment(module.doc.text)}module {module.name} {{\n{_indented(functions)}}}\n"


def _function(function: SdkFunction, first: str = "", keyword: str = "fn") -> str:
    """One declaration for each number of arguments; ``first`` is the object of a method."""
    declarations: list[str] = []
    for form in function.forms():
        parameters = [first] if first else []
        parameters += [f"{parameter.name}: {parameter.type}" for parameter in form]
        answer = "" if function.returns == "()" else f" -> {function.returns}"
        # Editors show each form on its own; the first says everything.
        doc = function.doc.summary if declarations else _explained(function)
        declarations.append(f"{_comment(doc)}{keyword} {function.name}({', '.join(parameters)}){answer};\n")
    return "".join(declarations)


def _members(host_type: SdkType) -> Iterator[str]:
    first = f"{host_type.name.lower()}: {host_type.name}"
    for getter in host_type.getters:
        yield _function(getter, first, keyword="fn get")
    for method in host_type.methods:
        yield _function(method, first)


def _opaque(host_type: SdkType) -> str:
    return f"{_comment(host_type.doc.text)}type {host_type.name} = ...;\n"


def _shape(shape: Shape) -> str:
    members = "".join(_indented(f"{_comment(each.doc)}{each.name}: {each.type},") for each in shape.members)
    return f"{_comment(shape.doc)}type {shape.name} = #{{\n{members}}};\n"


def _explained(function: SdkFunction) -> str:
    parts = [function.doc.text]
    said = [f"- `{each.name}`: {each.doc}" for each in function.parameters if each.doc]
    if said:
        parts.append("\n".join(said))
    parts += _throws(function.doc)
    if function.doc.example:
        parts.append(f"```rhai\n{function.doc.example}\n```")
    return "\n\n".join(parts)


def _throws(doc: Docstring) -> list[str]:
    return [f"Throws `{code}`: {when}" for code, when in doc.throws.items()]


def _comment(text: str) -> str:
    return "".join(f"/// {line}".rstrip() + "\n" for line in text.splitlines())


def _indented(text: str) -> str:
    return "".join(f"    {line}\n" if line else "\n" for line in text.splitlines())
