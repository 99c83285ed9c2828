"""The admin API: who may ask, the bounds of a request, and what it tells."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator
from pydantic import SecretStr

from control.admin_token import AdminToken, admin_token, bearer, configured, token_file
from control.binding import StartError
from control.config import ControlConfig
from sfu import protocol as p
from tests.control.sites import ADMIN_TOKEN, Site, enter, hear, running


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with running() as result:
        yield result


def error_of(answer: Any) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


class TestGuard:
    @pytest.mark.parametrize("path", ["/api/rooms", "/api/shards", "/api/openapi.json", "/api/rooms/x", "/api/nothing", "/api/"])
    async def test_nothing_is_told_without_the_token(self, site: Site, path: str) -> None:
        async with site.admin(None) as api:
            answer = await api.get(path)
        assert error_of(answer) == (401, "unauthorized")
        assert "Authorization: Bearer" in answer.json()["error"]["message"]
        assert answer.headers["www-authenticate"].startswith("Bearer")

    @pytest.mark.parametrize("token", ["wrong", ADMIN_TOKEN + "x", ADMIN_TOKEN[:-1]])
    async def test_a_wrong_token_is_refused(self, site: Site, token: str) -> None:
        async with site.admin(None) as api:
            answer = await api.get("/api/rooms", headers={"Authorization": f"Bearer {token}"})
        assert error_of(answer) == (401, "unauthorized")
        assert ADMIN_TOKEN not in answer.text

    async def test_the_scheme_must_be_bearer(self, site: Site) -> None:
        async with site.admin(None) as api:
            assert error_of(await api.get("/api/rooms", headers={"Authorization": f"Basic {ADMIN_TOKEN}"})) == (401, "unauthorized")

    def test_the_scheme_may_be_written_in_any_case(self) -> None:
        assert [bearer(text) for text in ("bearer x", "BEARER x", "Bearer  x ", "Bearer", "x", "", None)] == ["x"] * 3 + [None] * 4

    def test_text_that_is_not_ascii_is_just_wrong(self) -> None:
        assert not AdminToken("x" * 16).matches("ü\udc80")


class TestBounds:
    async def test_a_long_body_is_refused(self, site: Site) -> None:
        async with site.admin() as api:
            answer = await api.request("GET", "/api/rooms", content=b"x" * 70_000)
        assert error_of(answer) == (413, "body_too_large")

    async def test_unknown_addresses_and_methods_are_errors(self, site: Site) -> None:
        async with site.admin() as api:
            assert error_of(await api.get("/api/nothing")) == (404, "not_found")
            assert error_of(await api.delete("/api/shards")) == (405, "method_not_allowed")
            assert error_of(await api.get("/api/rooms/none")) == (404, "room_not_found")


class TestLists:
    async def test_rooms_and_their_people_are_listed(self, site: Site) -> None:
        async with site.connect() as client, site.admin() as api:
            room = await enter(client)
            listed = (await api.get("/api/rooms")).json()["rooms"]
            assert [(one["room_id"], one["shard_id"]) for one in listed] == [(room, "0")]
            (person,) = listed[0]["participants"]
            assert (person["username"], person["muted"], person["track_id"], person["consumers"]) == ("Ann", False, None, 0)
            assert (await api.get(f"/api/rooms/{room}")).json() == listed[0]

    async def test_shards_are_listed_with_their_load(self, site: Site) -> None:
        async with site.connect() as client, site.admin() as api:
            await enter(client)
            (shard,) = (await api.get("/api/shards")).json()["shards"]
        assert (shard["shard_id"], shard["state"], shard["rooms"], shard["participants"]) == ("0", "up", 1, 1)


class TestDocument:
    async def test_is_valid_openapi_3_1(self, site: Site) -> None:
        async with site.admin() as api:
            document = (await api.get("/api/openapi.json")).json()
        assert document["openapi"] == "3.1.0"
        OpenAPIV31SpecValidator(document).validate()

    async def test_every_path_of_the_document_is_served_and_takes_its_methods(self, site: Site) -> None:
        async with site.admin() as api:
            document = (await api.get("/api/openapi.json")).json()
            assert len(document["paths"]) >= 4
            for path, operations in document["paths"].items():
                answer = await api.request("TRACE", path.replace("{", "").replace("}", ""))
                assert answer.status_code == 405, path
                assert {method.upper() for method in operations} == set(answer.headers["allow"].split(", ")) - {"HEAD"}, path


class TestToken:
    def test_a_drawn_token_is_in_a_private_file_while_control_runs(self, tmp_path: Path) -> None:
        config = ControlConfig(runtime_dir=str(tmp_path / "run"))
        with admin_token(config, 8080) as token:
            path = token_file(tmp_path / "run", "localhost", 8080)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            assert token.matches(path.read_text().strip())
        assert not path.exists()

    def test_a_later_control_keeps_its_file(self, tmp_path: Path) -> None:
        config = ControlConfig(runtime_dir=str(tmp_path / "run"))
        with admin_token(config, 8080):
            later = admin_token(config, 8080)
            token = later.__enter__()
        assert token.matches(token_file(tmp_path / "run", "localhost", 8080).read_text().strip())
        later.__exit__(None, None, None)

    def test_a_configured_token_needs_no_file(self, tmp_path: Path) -> None:
        config = ControlConfig(runtime_dir=str(tmp_path / "run"), admin_token=SecretStr("a-token-of-the-operator"))
        with admin_token(config, 8080) as token:
            assert token.matches("a-token-of-the-operator")
            assert not (tmp_path / "run").exists()

    def test_a_token_file_is_read(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text("  a-token-of-the-operator\n")
        os.chmod(path, 0o600)
        assert configured(ControlConfig(admin_token_file=str(path))) == "a-token-of-the-operator"

    @pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 20, b"x" * 5000])
    def test_an_unusable_token_file_stops_the_start(self, tmp_path: Path, content: bytes) -> None:
        path = tmp_path / "token"
        path.write_bytes(content)
        with pytest.raises(StartError, match="token"):
            configured(ControlConfig(admin_token_file=str(path)))

    def test_a_missing_token_file_and_two_tokens_stop_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(StartError, match="cannot be read"):
            configured(ControlConfig(admin_token_file=str(tmp_path / "none")))
        with pytest.raises(StartError, match="both set"):
            configured(ControlConfig(admin_token_file=str(tmp_path / "none"), admin_token=SecretStr("x" * 16)))


class TestActions:
    async def test_a_room_is_made_joined_and_closed(self, site: Site) -> None:
        async with site.connect() as client, site.admin() as api:
            made = await api.post("/api/rooms")
            assert made.status_code == 201
            room = made.json()["room_id"]
            assert await enter(client, room) == room
            assert (await api.delete(f"/api/rooms/{room}")).status_code == 204
            assert (await hear(client, "room_left"))["reason"] == "room_closed"
            assert error_of(await api.get(f"/api/rooms/{room}")) == (404, "room_not_found")

    async def test_a_participant_is_muted_and_removed(self, site: Site) -> None:
        async with site.connect() as client, site.admin() as api:
            room = await enter(client)
            (person,) = (await api.get(f"/api/rooms/{room}")).json()["participants"]
            address = f"/api/rooms/{room}/participants/{person['user_id']}"
            assert (await api.put(address + "/mute", json={"muted": True})).status_code == 204
            assert await hear(client, "user_muted") == {"type": "user_muted", "user_id": person["user_id"], "muted": True}
            assert (await api.delete(address)).status_code == 204
            assert (await hear(client, "room_left"))["reason"] == "removed"
            assert error_of(await api.delete(address)) == (404, "participant_not_found")
            assert error_of(await api.put(address + "/mute", json={"muted": True})) == (404, "participant_not_found")

    async def test_a_shard_that_does_not_answer_is_503(self) -> None:
        async with running(command_s=0.3) as site, site.connect() as client, site.admin() as api:
            site.shard.silent = {p.SetMuted}
            room = await enter(client)
            (person,) = (await api.get(f"/api/rooms/{room}")).json()["participants"]
            answer = await api.put(f"/api/rooms/{room}/participants/{person['user_id']}/mute", json={"muted": True})
            assert error_of(answer) == (503, "shard_unavailable")

    async def test_an_announcement_is_heard(self, site: Site) -> None:
        async with site.connect() as client, site.admin() as api:
            room = await enter(client)
            for body in ({"message": "Soon."}, {"message": "Soon.", "room_id": room}):
                assert (await api.post("/api/announcements", json=body)).json() == {"people": 1}
                assert (await hear(client, "announcement"))["message"] == "Soon."
            assert error_of(await api.post("/api/announcements", json={"message": "x", "room_id": "none"})) == (404, "room_not_found")
            for bad in ({}, {"message": ""}, {"message": "x" * 2001}, []):
                assert error_of(await api.post("/api/announcements", json=bad)) == (400, "invalid_request")

    async def test_a_shard_is_drained_and_undrained_and_placement_says_so(self, site: Site) -> None:
        async with site.connect() as client, site.admin() as api:
            await enter(client)
            drained = (await api.post("/api/shards/0/drain", json={"deadline_s": 60})).json()
            assert (drained["draining"], drained["rooms"]) == (True, 1)
            assert (await hear(client, "server_draining"))["deadline_s"] == 60
            placement = (await api.get("/api/placement")).json()
            assert (placement["shard"], placement["candidates"][0]["excluded"]) == (None, "it is draining")
            assert not (await api.delete("/api/shards/0/drain")).json()["draining"]
            assert (await api.get("/api/placement")).json()["shard"] == "0"
            assert error_of(await api.post("/api/shards/9/drain")) == (404, "shard_not_found")
            assert error_of(await api.post("/api/shards/0/drain", json={"deadline_s": -1})) == (400, "invalid_request")
