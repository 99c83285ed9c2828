"""The JSON of every message, and that SIGNALING.md tells the truth about it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import control
from control import messages as m

DOCUMENT = (Path(control.__file__).parent / "SIGNALING.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^### `(\w+)` \((client to server|server to client)\)$.*?^```json\n(.*?)\n```$", DOCUMENT, re.MULTILINE | re.DOTALL)
CLIENT = [(name, text) for name, direction, text in EXAMPLES if direction == "client to server"]
SERVER = [(name, text) for name, direction, text in EXAMPLES if direction == "server to client"]


class TestDocument:
    @pytest.mark.parametrize(("name", "text"), CLIENT)
    def test_a_client_example_decodes(self, name: str, text: str) -> None:
        assert m.message_type(m.decode_client(text)) == name

    @pytest.mark.parametrize(("name", "text"), SERVER)
    def test_a_server_example_is_exactly_what_the_server_would_send(self, name: str, text: str) -> None:
        message = m.decode_server(text)
        assert m.message_type(message) == name
        assert json.loads(m.encode(message)) == json.loads(text)

    def test_every_message_is_documented_once(self) -> None:
        assert sorted(name for name, _ in CLIENT) == sorted(m.CLIENT_TYPES)
        assert sorted(name for name, _ in SERVER) == sorted(str(t.__struct_config__.tag) for t in m.ServerMessage.__args__)

    def test_the_table_of_error_codes_is_the_servers(self) -> None:
        table = re.findall(r"^\| `(\w+)` \| (.+?) \|$", DOCUMENT.split("## Error codes")[1], re.MULTILINE)
        assert dict(table) == m.ERROR_CODES

    def test_the_errors_named_at_each_message_exist(self) -> None:
        for sentence in re.findall(r"Errors?: (.*?)\.\s", DOCUMENT, re.DOTALL):
            assert set(re.findall(r"`(\w+)`", sentence)) <= set(m.ERROR_CODES), sentence


BAD = {
    "nothing": ("", "invalid_message", None),
    "not JSON": ("{", "invalid_message", None),
    "two objects": ('{"type":"ping"}{"type":"ping"}', "invalid_message", None),
    "a list": ("[]", "invalid_message", None),
    "null": ("null", "invalid_message", None),
    "no type": ('{"username":"x"}', "invalid_message", None),
    "a number as type": ('{"type":1}', "invalid_message", None),
    "an unknown type": ('{"type":"dance"}', "unknown_type", "dance"),
    "a server's type": ('{"type":"pong"}', "unknown_type", "pong"),
    "an endless type": (json.dumps({"type": "x" * 9999}), "unknown_type", "x" * 64),
    "a missing field": ('{"type":"register"}', "invalid_message", "register"),
    "a field of the wrong type": ('{"type":"register","username":5}', "invalid_message", "register"),
    "null for text": ('{"type":"publish_audio","sdp":null}', "invalid_message", "publish_audio"),
    "a number for a boolean": ('{"type":"set_muted","muted":1}', "invalid_message", "set_muted"),
    "deep nesting": ('{"type":"ping","x":' + "[" * 60_000 + "}", "invalid_message", None),
    "a lone surrogate": ('{"type":"register","username":"\\ud800"}', "invalid_message", None),
}


class TestBadMessages:
    @pytest.mark.parametrize(("text", "code", "request_type"), BAD.values(), ids=BAD.keys())
    def test_is_told_apart(self, text: str, code: str, request_type: str | None) -> None:
        with pytest.raises(m.BadMessage) as caught:
            m.decode_client(text)
        assert (caught.value.code, caught.value.request) == (code, request_type)
        assert len(caught.value.message) < 500

    def test_unknown_fields_are_ignored(self) -> None:
        assert m.decode_client('{"type":"ping","later":{"a":[1]}}') == m.Ping()

    def test_fields_of_later_versions_are_taken(self) -> None:
        message = m.decode_client('{"type":"register","username":"Ann","resume_token":"x","token":"y"}')
        assert isinstance(message, m.Register)
