"""The OpenAPI 3.1 document of the admin endpoints, made from the table of them and the types of their bodies and answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

import msgspec

from control.api import API_ERRORS, Endpoint, Failure

ANYWHERE: Final = ("unauthorized", "body_too_slow", "body_too_large", "internal_error")
"""Errors that every endpoint may give."""
JSON: Final = "application/json"


def document(endpoints: Iterable[Endpoint], version: str) -> dict[str, Any]:
    """Each endpoint under its path and method. ``version``: of the server."""
    table = list(endpoints)
    kinds = [kind for endpoint in table for kind in (endpoint.result, endpoint.body) if kind is not None]
    schemas, components = msgspec.json.schema_components([*kinds, Failure], ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(map(_key, [*kinds, Failure]), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in table:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Antiphon admin API", "version": version, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        "security": [{"admin": []}],
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"admin": {"type": "http", "scheme": "bearer", "description": API_ERRORS["unauthorized"][1]}},
        },
    }


def _operation(endpoint: Endpoint, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    operation: dict[str, Any] = {"operationId": endpoint.name, "summary": endpoint.summary, "responses": _responses(endpoint, schema_of)}
    text = {"required": True, "schema": {"type": "string"}}
    parameters = [{"name": name, "in": "path", **text} for name in re.findall(r"{(\w+)}", endpoint.path)]
    parameters += [{"name": name, "in": "query", "description": what, **text} for name, what in endpoint.query.items()]
    if parameters:
        operation["parameters"] = parameters
    if endpoint.body is not None:
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema_of[_key(endpoint.body)]}}}
    return operation


def _responses(endpoint: Endpoint, schema_of: Mapping[str, Any]) -> dict[str, Any]:
    if endpoint.result is None:
        responses: dict[str, Any] = {"204": {"description": "Done"}}
    else:
        content = {JSON: {"schema": schema_of[_key(endpoint.result)]}}
        responses = {"201" if endpoint.created else "200": {"description": endpoint.summary, "content": content}}
    codes = (*ANYWHERE, *endpoint.errors, *(("invalid_request",) if endpoint.body is not None or endpoint.query else ()))
    by_status: dict[int, list[str]] = {}
    for code in codes:
        status, sentence = API_ERRORS[code]
        by_status.setdefault(status, []).append(f"`{code}`: {sentence}")
    for status, sentences in sorted(by_status.items()):
        content = {JSON: {"schema": schema_of[_key(Failure)]}}
        responses[str(status)] = {"description": " ".join(sentences), "content": content}
    return responses


def _key(kind: Any) -> str:
    return str(kind)
