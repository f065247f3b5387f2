"""Every module there is: what is described is there, and its examples do what they say."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from picloud.engine.sdk.description import SdkFunction
from picloud.engine.sdk.library import MODULES
from tests.unit.engine.sdk.scripts import run, value

#: Words the language, or its language server, keeps for itself: no parameter can be called so.
RESERVED = frozenset(
    re.findall(
        r"\w+",
        """
        let const for do until while in loop break continue if else switch fn private return throw try catch import
        export as var static goto exit match case public protected new use with module package super spawn thread go
        sync async await yield default void null nil true false this is_shared Fn call curry type_of print debug eval
        global
        """,
    )
)

#: Something of each type, to call functions with.
SAMPLES = {
    "String": '"a"',
    "String | Blob": '"a"',
    "Blob": "blob()",
    "int": "200",
    "float": "1.5",
    "bool": "true",
    "Map": "#{}",
    "Array": "[1]",
    "?": "1",
    "Response": "response::empty(204)",
    "Collection": 'kv::collection("things")',
}


def described() -> Iterator[tuple[str, SdkFunction, str | None]]:
    """Each function: how a call of it begins, itself, and the type a method belongs to."""
    for module in MODULES:
        for function in module.functions:
            prefix = "" if function.is_global else f"{module.name}::"
            yield f"{prefix}{function.name}", function, None
        for host_type in module.types:
            for method in host_type.methods:
                yield method.name, method, host_type.name


def forms() -> Iterator[tuple[str, list[str]]]:
    """Each form of each function: how a call of it begins, and the types of its arguments."""
    for beginning, function, holder in described():
        for form in function.forms():
            types = ["options" if parameter.shape else parameter.type for parameter in form]
            yield beginning, [holder, *types] if holder else types


def sample(kind: str) -> str:
    if kind == "options":
        return "#{}"
    assert kind in SAMPLES, f"SAMPLES needs something of type {kind}"
    return SAMPLES[kind]


def examples() -> Iterator[str]:
    yield from (function.doc.example for _, function, _ in described() if function.doc.example)


@pytest.mark.parametrize(("beginning", "types"), list(forms()))
def test_what_is_described_is_there_and_takes_what_it_says(beginning: str, types: list[str]) -> None:
    failed = run(f"let ignored = {beginning}({', '.join(map(sample, types))});").failure
    # A sample may be no usable value, as "a" is no date; its number and types are right.
    assert failed is None or not re.match("Function not found|Data type incorrect", failed.message), failed


@pytest.mark.parametrize("example", list(examples()), ids=lambda example: example.splitlines()[0][:60])
def test_an_example_gives_what_it_says(example: str) -> None:
    statements: list[str] = []
    for line in example.splitlines():
        code, _, said = line.partition("  // ")
        if said and not said.endswith("…"):
            statements.append(f"seen.push([{code.rstrip(';')}, {said}]);")
        else:
            statements.append(code if code.endswith((";", "{", "}")) else f"{code};")
    promised = sum(statement.startswith("seen.push") for statement in statements)
    seen = value("\n".join(["let seen = [];", *statements, "seen"]))
    assert len(seen) == promised
    for given, said in seen:
        assert given == said


def test_no_parameter_is_called_as_only_the_language_may() -> None:
    names = {parameter.name for _, function, _ in described() for parameter in function.parameters}
    assert names & RESERVED == set()


def test_every_name_is_there_once() -> None:
    calls = [(beginning, holder) for beginning, _, holder in described()]
    assert len(calls) == len(set(calls))
    names = [module.name for module in MODULES]
    assert len(names) == len(set(names))


def test_what_is_said_of_a_parameter_is_said_of_one_there_is() -> None:
    for beginning, function, _ in described():
        assert function.doc.entries.keys() <= {parameter.name for parameter in function.parameters}, beginning


def test_the_modules_of_the_contract_that_need_no_service_are_there() -> None:
    expected = {"response", "log", "json", "base64", "hash", "hmac", "uuid", "random", "time", "url"}
    assert expected <= {module.name for module in MODULES}
