"""``antiphon check-config``: every option, its value, where it comes from, and no secret."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import Field, SecretStr

import control
import control.check
import control.config
import sfu.config
from control.config import ConfigError, ControlConfig, load, load_with_sources

ROOT = Path(control.__file__).parent.parent


def check(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "control", "check-config", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **environ}, capture_output=True, text=True, timeout=100)


def sources(text: str) -> dict[str, str]:
    """Source of each option in what was printed; of one that both sections have, that of [shard]."""
    return {line.split(" = ")[0]: line.rsplit("  # ", 1)[1] for line in text.splitlines() if " = " in line}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    result = tmp_path / "antiphon.toml"
    lines = ["[shard]", "heartbeat_ms = 100", "[control] # comment", "advertise = [", '  "192.0.2.1",', "]", "  room_grace_s = 5.0"]
    result.write_text("\n".join(lines))
    return result


class TestCommand:
    def test_every_option_of_both_sections_has_its_value_and_its_source(self, file: Path) -> None:
        environ = {"ANTIPHON_UDP_PORT": "41000", "ANTIPHON_CONTROL_ROOMS": "7", "ANTIPHON_SHARD_MAX_TRACKS": "9"}
        done = check("--config", str(file), "--port", "8081", "--shards", "1", **environ)
        assert (done.returncode, done.stderr) == (0, "")
        document = tomllib.loads(done.stdout)
        assert set(document["control"]) == set(ControlConfig.model_fields)
        assert set(document["shard"]) == set(sfu.config.ShardConfig.model_fields)
        expected = {"port": 8081, "udp_port": 41000, "rooms": 7, "room_grace_s": 5.0, "advertise": ["192.0.2.1"], "shards": 1}
        assert document["control"] == {**document["control"], **expected}
        assert document["shard"] == {**document["shard"], "heartbeat_ms": 100, "udp_port": 41000, "max_tracks": 9}
        told = sources(done.stdout)
        assert told["port"] == "--port"
        assert told["rooms"] == "ANTIPHON_CONTROL_ROOMS"
        assert told["room_grace_s"] == f"{file}:7"
        assert told["heartbeat_ms"] == f"{file}:2"
        assert told["max_tracks"] == "ANTIPHON_SHARD_MAX_TRACKS"
        assert told["host"] == "default"
        assert f'advertise = ["192.0.2.1"]  # {file}:4' in done.stdout.splitlines()
        assert "udp_port = 41000  # ANTIPHON_UDP_PORT" in done.stdout.splitlines()
        assert told["udp_port"] == "--udp-port"  # of the shard: control gives it

    def test_what_it_prints_is_a_configuration_with_the_same_values(self, file: Path, tmp_path: Path) -> None:
        printed = tmp_path / "printed.toml"
        printed.write_text(check("--config", str(file), "--shards", "0").stdout)
        assert load({}, {}, printed) == load({"shards": "0"}, {}, file)
        assert sfu.config.load({}, printed, {}) == sfu.config.load({}, file, {})

    def test_problems_of_both_sections_are_told_and_nothing_is_printed(self, tmp_path: Path) -> None:
        wrong = tmp_path / "antiphon.toml"
        wrong.write_text("[control]\nprot = 1\n[shard]\nheartbeat = 1\n")
        done = check("--config", str(wrong), "--port", "x")
        assert (done.returncode, done.stdout) == (2, "")
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["antiphon", "antiphon", "antiphon shard"]
        assert f"prot in {wrong}:2: there is no such option" in done.stderr
        assert "heartbeat" in done.stderr.splitlines()[2]

    @pytest.mark.parametrize(
        "options",
        [
            {"CONTROL_TURN_SECRET_FILE": "/none"},
            {"CONTROL_ADMIN_TOKEN_FILE": "/none"},
            {"CONTROL_ACCESS_SECRET_FILE": "/none"},
            {"CONTROL_TLS_CERTIFICATE": "/none", "CONTROL_TLS_KEY": "/none"},
            {"SHARD_CONTROL": "tcp://192.0.2.1:1", "SHARD_KEY_FILE": "/none", "SHARD_CONTROL_PUBLIC_KEY": "x" * 40},
        ],
        ids=lambda options: next(iter(options)),
    )
    def test_a_file_that_is_not_there_is_a_problem(self, options: dict[str, str]) -> None:
        done = check("--shards", "0", **{f"ANTIPHON_{name}": value for name, value in options.items()})
        assert (done.returncode, done.stdout) == (2, "")
        assert "/none" in done.stderr
        assert len(done.stderr.splitlines()) == 1

    def test_ports_beyond_the_last_are_a_problem(self) -> None:
        done = check("--udp-port", "65535", "--shards", "2")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--udp-port" in done.stderr


class TestSources:
    def test_keys_amid_texts_of_several_lines_are_not_taken_for_options(self, tmp_path: Path) -> None:
        file = tmp_path / "antiphon.toml"
        lines = ["[control]", "advertise = [", '  """', "port = 1", '""",', "]", "[shard]", "port = 2", "[control.x]", "port = 3"]
        file.write_text("\n".join([*lines[:2], '  "a",', *lines[5:6], "port = 8080"]))
        assert load_with_sources({}, {}, file)[1]["port"] == f"{file}:5"
        assert control.config._lines_of_keys("\n".join(lines), "control") == {"advertise": 2}

    def test_an_option_written_another_way_has_the_file_as_its_source(self, tmp_path: Path) -> None:
        file = tmp_path / "antiphon.toml"
        file.write_text("control.port = 9000\n")
        assert load_with_sources({}, {}, file)[1]["port"] == str(file)

    def test_a_short_name_that_does_not_exist_is_told_with_the_long_one(self) -> None:
        with pytest.raises(ConfigError, match="did you mean ANTIPHON_CONTROL_ROOMS"):
            load({}, {"ANTIPHON_ROOMS": "1"}, None)


class WithSecrets(ControlConfig):
    """Options as a secret is declared; the type is all that marks it."""

    password: SecretStr = Field(SecretStr(""), min_length=8, description="A secret.")
    keys: list[SecretStr] = Field([], description="Several secrets.")


class TestSecrets:
    @pytest.fixture(autouse=True)
    def _with_secrets(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(control.config, "ControlConfig", WithSecrets)

    def load(self, text: str, tmp_path: Path, **flags: Any) -> tuple[ControlConfig, dict[str, str]]:
        file = tmp_path / "antiphon.toml"
        file.write_text(text)
        return load_with_sources(flags, {}, file)

    def test_are_masked_by_their_type(self, tmp_path: Path) -> None:
        config, where = self.load('[control]\npassword = "hunter-two"\nkeys = ["hunter-three", "hunter-four"]', tmp_path)
        lines = control.check.section(config, where)
        assert f'password = "***"  # {tmp_path / "antiphon.toml"}:2' in lines
        assert any(line.startswith('keys = ["***", "***"]') for line in lines)
        assert "hunter" not in repr(config) + "".join(lines)

    def test_an_empty_one_is_seen_to_be_empty(self, tmp_path: Path) -> None:
        assert 'password = ""  # default' in control.check.section(*self.load("", tmp_path))

    @pytest.mark.parametrize("value", ['"hunter"', '["hunter"]', "[['hunter']]"])
    @pytest.mark.parametrize("key", ["password", "keys"])
    def test_a_wrong_one_is_told_without_its_value(self, tmp_path: Path, key: str, value: str) -> None:
        try:
            self.load(f"[control]\n{key} = {value}", tmp_path)
        except ConfigError as error:
            assert key in str(error)  # noqa: PT017
            assert "hunter" not in str(error)  # noqa: PT017
