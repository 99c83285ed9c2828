from __future__ import annotations

from pathlib import Path

import pytest

from sfu.config import ConfigError, ShardConfig, load
from sfu.transport.webrtc import Limits


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "antiphon.toml"
    path.write_text(text)
    return path


def problems(**arguments: object) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        load(**{"flags": {}, "environment": {}, **arguments})  # type: ignore[arg-type]
    return refused.value.problems


class TestOrder:
    def test_flag_before_environment_before_file_before_default(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = file(tmp_path, "[control]\nport = 1\n[shard]\nudp_port = 1\nheartbeat_ms = 100\nmax_tracks = 5\n")
        monkeypatch.setenv("ANTIPHON_SHARD_UDP_PORT", "2")
        monkeypatch.setenv("ANTIPHON_SHARD_HEARTBEAT_MS", "200")
        config = load({"udp_port": "3"}, path)
        assert (config.udp_port, config.heartbeat_ms, config.max_tracks, config.consent_timeout_s) == (3, 200, 5, 30)

    def test_lists_are_arrays_in_the_file_and_commas_elsewhere(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANTIPHON_SHARD_ADVERTISE", "192.0.2.1, 2001:DB8::1")
        config = load({"host": "localhost"}, file(tmp_path, '[shard]\nadvertise = ["192.0.2.9"]\n'))
        assert config.advertise == ("192.0.2.1", "2001:db8::1")
        assert config.host == ("127.0.0.1", "::1")
        monkeypatch.delenv("ANTIPHON_SHARD_ADVERTISE")
        assert load({}, file(tmp_path, '[shard]\nadvertise = ["192.0.2.9"]\n')).advertise == ("192.0.2.9",)

    def test_consent_is_lost_after_the_30_s_of_rfc_7675(self) -> None:
        assert ShardConfig().consent_timeout_s == Limits().consent_s == 30.0

    def test_file_without_the_section_is_fine(self, tmp_path: Path) -> None:
        assert load({}, file(tmp_path, "[control]\n"), {}) == ShardConfig()


class TestProblems:
    def test_unknown_key_names_key_file_and_the_known_ones(self, tmp_path: Path) -> None:
        path = file(tmp_path, "[shard]\nudp_prt = 1\n")
        (problem,) = problems(file=path)
        assert problem.startswith(f"shard.udp_prt in {path}: unknown option; expected one of control, key_file,")

    @pytest.mark.parametrize("value", ['"40000"', "true", "4.5", "[1]", "{}"])
    def test_ill_typed_value_names_what_was_expected(self, tmp_path: Path, value: str) -> None:
        path = file(tmp_path, f"[shard]\nudp_port = {value}\n")
        (problem,) = problems(file=path)
        assert problem.startswith(f"shard.udp_port in {path}: should be of type int")
        assert problem.endswith("expected UDP port of all media; 0 for any free one")

    def test_every_problem_has_one_line(self, tmp_path: Path) -> None:
        found = problems(file=file(tmp_path, "[shard]\na = 1\nb = 2\n"))
        assert len(found) == 2
        assert not any("\n" in problem for problem in found)

    def test_flag_and_variable_are_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("ANTIPHON_SHARD_MAX_TRACKS", "many")
        found = problems(flags={"udp_port": "70000"}, environment={"ANTIPHON_SHARD_MAX_TRACKS": "many", "ANTIPHON_SHARD_NOPE": "1"})
        assert [problem.split(":")[0] for problem in found] == [
            "ANTIPHON_SHARD_NOPE in the environment",
            "--udp-port",
            "ANTIPHON_SHARD_MAX_TRACKS in the environment",
        ]

    @pytest.mark.parametrize(
        "flags", [{"host": "1.2.3"}, {"host": "0.0.0.0,127.0.0.1"}, {"advertise": "x"}, {"control": "udp://x"}, {"shard_id": "a b"}]
    )
    def test_impossible_values(self, flags: dict[str, str]) -> None:
        assert len(problems(flags=flags)) == 1

    def test_broken_or_missing_file(self, tmp_path: Path) -> None:
        assert "not a TOML file" in problems(file=file(tmp_path, "[shard"))[0]
        assert "cannot be read" in problems(file=tmp_path / "nowhere.toml")[0]


def test_every_option_says_what_it_is() -> None:
    assert all(field.description for field in ShardConfig.model_fields.values())
    for name, field in ShardConfig.model_fields.items():
        if name.endswith("_s"):
            assert "in seconds" in (field.description or "")
