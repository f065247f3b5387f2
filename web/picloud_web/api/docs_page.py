"""The OpenAPI document as a page for people: whole in itself, readable without a network and without JavaScript."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
import re
from collections.abc import Iterable, Mapping
from importlib import resources
from typing import Any
from urllib.parse import urlencode

from picloud_web.api.endpoints import Call, Endpoints, Html
from picloud_web.api.openapi import document

api = Endpoints("description")

_CODE = re.compile(r"`([^`]+)`")
_REFERENCE = "#/components/schemas/"
_MOST_SHOWN_CHARACTERS = 400


@api.get("/docs", needs=None)
async def show_docs(_call: Call) -> Html:
    """This document as a page for people."""
    return page()


@functools.cache
def page() -> Html:
    """The page; the same for as long as the process lives."""
    style, script = (_file(f"docs_page.{suffix}") for suffix in ("css", "js"))
    policy = (
        f"default-src 'none'; style-src '{_digest(style)}'; script-src '{_digest(script)}';"
        " base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    return Html(_page(document(), style, script), policy)


def _file(name: str) -> str:
    return resources.files(__package__ or "").joinpath(name).read_text(encoding="utf-8")


def _digest(text: str) -> str:
    """How a Content-Security-Policy names an inline text (CSP level 3, "hash-source")."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _page(described: Mapping[str, Any], style: str, script: str) -> str:
    by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            by_tag.setdefault(operation["tags"][0], []).append((method, path, operation))
    schemas = described["components"]["schemas"]
    info = described["info"]
    menu = "".join(
        f'<li><a href="#{_id(tag)}">{_title(tag)} <span>{len(found)}</span></a></li>' for tag, found in by_tag.items()
    )
    sections = "".join(
        f'<section><h2 id="{_id(tag)}">{_title(tag)}</h2>{"".join(_operation(*each) for each in found)}</section>'
        for tag, found in by_tag.items()
    )
    types = "".join(_type(name, schemas[name]) for name in sorted(schemas))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><title>PiCloud: the control API</title>'
        f"<style>{style}</style></head>\n<body><nav><strong>PiCloud</strong><p>control API {_text(info['version'])}</p>"
        '<form hidden><input id="search" type="search" placeholder="Search  ( / )" aria-label="Search"></form>'
        f'<ul>{menu}<li><a href="#types">Types <span>{len(schemas)}</span></a></li></ul></nav>\n'
        f"<main><h1>The control API</h1><p>{_text(info['description'])}</p>"
        '<p>For programs: <a href="openapi.json">openapi.json</a>.</p>\n'
        f'{sections}<section><h2 id="types">Types</h2>{types}</section></main>\n'
        f"<script>{script}</script></body></html>\n"
    )


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [f"<p>{_text(operation['description'])}</p>" if "description" in operation else "", _needs(operation)]
    if operation["parameters"]:
        parts.append(f"<h3>Parameters</h3>{_table(_parameter(each) for each in operation['parameters'])}")
    if "requestBody" in operation:
        body = operation["requestBody"]
        parts.append(
            f"<h3>Body</h3><p>{_schema(body['content']['application/json']['schema'])}, at most"
            f" {body['x-max-bytes']:,} bytes{'' if body['required'] else '; may be left out'}</p>"
        )
    parts += [
        f"<h3>Answers</h3>{_table(_answer(*each) for each in operation['responses'].items())}",
        f"<h3>Example</h3><pre>{html.escape(_curl(method, path, operation))}</pre>",
    ]
    return (
        f'<details id="{_id(operation["operationId"])}"><summary><span class="method {method}">{method.upper()}</span>'
        f'<span class="path">{html.escape(path)}</span>'
        f'<span class="what">{_text(operation["summary"])}</span></summary>'
        f'<div class="in">{"".join(parts)}</div></details>\n'
    )


def _needs(operation: Mapping[str, Any]) -> str:
    if "x-capability" not in operation:
        return '<p class="needs">Asks nobody who they are.</p>'
    scopes = operation["x-scopes"]
    key = f"; a key needs the scope {' or '.join(f'<code>{each}</code>' for each in scopes)}" if scopes else ""
    role = f"{_text(operation['x-role'])} or higher"
    return f'<p class="needs">Needs <code>{operation["x-capability"]}</code>: {role}{key}.</p>'


def _parameter(parameter: Mapping[str, Any]) -> tuple[str, str]:
    meaning = _text(parameter.get("description", ""))
    must = "" if not parameter.get("required") or parameter["in"] == "path" else ", required"
    kind = f'<span class="type">{parameter["in"]}{must}, {_schema(parameter["schema"])}</span>'
    return f"<code>{html.escape(parameter['name'])}</code>", f"{kind}<br>{meaning}" if meaning else kind


def _answer(status: str, answer: Mapping[str, Any]) -> tuple[str, str]:
    shown = _text(answer["description"])
    for media_type, content in answer.get("content", {}).items():
        if media_type != "application/problem+json":
            is_json = media_type == "application/json"
            shown += f": {_schema(content['schema'])}" if is_json else f" <code>{media_type}</code>"
    for name, kind in answer.get("x-events", {}).items():
        shown += f"<br><code>{name}</code>: {_schema(kind)}"
    return f"<code>{status}</code>", shown


def _type(name: str, schema: Mapping[str, Any]) -> str:
    members = schema.get("properties", {})
    required = schema.get("required", ())
    rows = (
        (
            f"<code>{html.escape(member)}</code>",
            f'<span class="type">{_schema(each)}{"" if member in required else ", optional"}</span>'
            + (f"<br>{_text(each['description'])}" if "description" in each else ""),
        )
        for member, each in members.items()
    )
    first, _, more = str(schema.get("description", "")).partition("\n")
    body = _table(rows) if members else f"<p>{_schema(schema)}</p>"
    explained = f"<pre>{html.escape(more.strip())}</pre>" if more.strip() else ""
    return (
        f'<details id="type-{_id(name)}"><summary><span class="method">type</span>'
        f'<span class="path">{html.escape(name)}</span><span class="what">{_text(first)}</span></summary>'
        f'<div class="in">{explained}{body}</div></details>\n'
    )


def _schema(schema: Mapping[str, Any]) -> str:
    """A type in a few words, linked to where it is explained."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(_REFERENCE)
        return f'<a href="#type-{_id(name)}">{html.escape(name)}</a>'
    if "anyOf" in schema:
        return " or ".join(_schema(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(f"<code>{html.escape(json.dumps(each))}</code>" for each in schema["enum"])
    match schema.get("type"):
        case "array":
            return f"list of {_schema(schema['items'])}" if schema.get("items") else "list"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {_schema(schema['additionalProperties'])}"
        case None:
            return "any JSON"
        case kind:
            return html.escape(str(schema.get("format", kind))) + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    low = schema.get("minimum", schema.get("minLength"))
    high = schema.get("maximum", schema.get("maxLength"))
    unit = " characters" if "maxLength" in schema or "minLength" in schema else ""
    if low is None and high is None:
        return ""
    if high is None:
        return f", at least {low:,}{unit}"
    return f", {low:,} to {high:,}{unit}" if low is not None else f", up to {high:,}{unit}"


def _curl(method: str, path: str, operation: Mapping[str, Any]) -> str:
    wanted: dict[str, str] = {}
    for parameter in operation["parameters"]:
        if parameter["in"] == "path":
            path = path.replace(f"{{{parameter['name']}}}", str(parameter["example"]))
        elif parameter["in"] == "query" and parameter.get("required"):
            wanted[parameter["name"]] = str(parameter["schema"].get("default", "…"))
    lines = [f'curl{"" if method == "get" else " -X " + method.upper()} "$PICLOUD_URL{path}']
    lines[0] += f'?{urlencode(wanted)}"' if wanted else '"'
    if "x-capability" in operation:
        lines.append('-H "Authorization: Bearer $PICLOUD_KEY"')
    if "requestBody" in operation:
        example = json.dumps(operation["requestBody"]["content"]["application/json"]["example"], ensure_ascii=False)
        quoted = example.replace("'", "'\\''")
        lines += ['-H "Content-Type: application/json"', f"-d '{quoted[:_MOST_SHOWN_CHARACTERS]}'"]
    return " \\\n  ".join(lines)


def _table(rows: Iterable[tuple[str, str]]) -> str:
    return f"<table>{''.join(f'<tr><td>{name}</td><td>{what}</td></tr>' for name, what in rows)}</table>"


def _text(text: str) -> str:
    """Text with its `code` set apart."""
    return _CODE.sub(r"<code>\1</code>", html.escape(text))


def _title(tag: str) -> str:
    return html.escape(tag[:1].upper() + tag[1:])


def _id(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_]+", "-", name)


ENDPOINTS = api.collected()
