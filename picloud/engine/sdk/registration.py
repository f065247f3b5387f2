"""Gives what is described to the engine."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import rhai

from picloud.engine.sdk.description import SdkModule, SdkType
from picloud.engine.sdk.library import MODULES


@cache
def script_modules() -> tuple[tuple[rhai.Module, ...], tuple[rhai.HostType[Any], ...]]:
    """The modules and types every script sees, made once for all engines of the process."""
    return register(MODULES)


def register(modules: Iterable[SdkModule]) -> tuple[tuple[rhai.Module, ...], tuple[rhai.HostType[Any], ...]]:
    """The native form of some modules. What the engine brings itself is left to it."""
    described = tuple(modules)
    registered = [_module(module) for module in described if any(not each.is_built_in for each in module.functions)]
    return tuple(registered), tuple(_type(each) for module in described for each in module.types)


def _module(described: SdkModule) -> rhai.Module:
    module = rhai.Module(described.name, doc=described.doc.text)
    for function in described.functions:
        if not function.is_built_in:
            module.fn(function.callable, name=function.name, context=function.takes_context)
    return module


def _type(described: SdkType) -> rhai.HostType[Any]:
    host_type = rhai.HostType(described.cls, name=described.name)
    for method in described.methods:
        host_type.method(method.callable, name=method.name)
    for getter in described.getters:
        host_type.getter(getter.name)(getter.callable)
    return host_type
