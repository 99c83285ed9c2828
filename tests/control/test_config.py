"""Configuration: what goes before what, and that every mistake is one clear line."""

from __future__ import annotations

from pathlib import Path

import pytest

from control.config import ConfigError, ControlConfig, load, shard_count, usable_cores


def problems_of(
    flags: dict[str, object] | None = None, environ: dict[str, str] | None = None, text: str | None = None, folder: Path | None = None
) -> list[str]:
    file = None
    if text is not None:
        assert folder is not None
        file = folder / "antiphon.toml"
        file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(flags or {}, environ or {}, file)
    return caught.value.problems


class TestPrecedence:
    def test_flag_then_long_variable_then_short_one_then_file_then_default(self, tmp_path: Path) -> None:
        file = tmp_path / "antiphon.toml"
        file.write_text("[control]\nport = 1\nrooms = 2\nudp_port = 3\nshards = 4\n[shard]\nanything = 1\n")
        environ = {"ANTIPHON_PORT": "10", "ANTIPHON_CONTROL_UDP_PORT": "30", "ANTIPHON_UDP_PORT": "31", "ANTIPHON_SHARDS": "40"}
        config = load({"shards": "auto"}, environ, file)
        assert (config.port, config.rooms, config.udp_port, config.shards, config.host) == (10, 2, 30, "auto", "localhost")

    def test_lists_are_separated_by_commas_outside_the_file(self, tmp_path: Path) -> None:
        assert load({"advertise": "192.0.2.1, 2001:db8::1"}, {}, None).advertise == ["192.0.2.1", "2001:db8::1"]
        file = tmp_path / "antiphon.toml"
        file.write_text('[control]\nadvertise = ["192.0.2.1"]')
        assert load({}, {}, file).advertise == ["192.0.2.1"]

    def test_auto_is_one_shard_for_each_usable_core(self) -> None:
        assert shard_count(load({"shards": "auto"}, {}, None)) == usable_cores() >= 1
        assert shard_count(load({"shards": "3"}, {}, None)) == 3


class TestMistakes:
    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ('port = "8080"', "expected a valid integer"),
            ("port = 70000", "expected less than or equal to 65535"),
            ("port = true", "expected a valid integer"),
            ('shards = "many"', "expected a valid integer or 'auto'"),
            ("shards = -1", "greater than or equal to 0"),
            ("rooms = 1.5", "expected a valid integer"),
            ('log_level = "loud"', "'debug'"),
            ('host = "a b"', "expected an address"),
        ],
    )
    def test_a_wrong_value_in_the_file_is_told_with_key_file_and_what_was_expected(self, tmp_path: Path, line: str, told: str) -> None:
        (problem,) = problems_of(text=f"[control]\n{line}\n", folder=tmp_path)
        key = line.split()[0]
        assert problem.startswith(f"{key} in {tmp_path / 'antiphon.toml'}:2: ")
        assert told in problem
        assert "\n" not in problem

    def test_an_unknown_key_is_told_with_the_one_that_was_meant(self, tmp_path: Path) -> None:
        (problem,) = problems_of(text="[control]\nprot = 1\n", folder=tmp_path)
        assert "did you mean port?" in problem

    @pytest.mark.parametrize("text", ["[contorl]\nport = 1", "port = 1", "control = 5"])
    def test_what_is_outside_the_sections_is_told(self, tmp_path: Path, text: str) -> None:
        (problem,) = problems_of(text=text, folder=tmp_path)
        assert "expected the section [control] or [shard]" in problem

    def test_a_file_that_is_missing_or_no_toml_is_told(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            load({}, {}, tmp_path / "none.toml")
        (problem,) = problems_of(text="[control", folder=tmp_path)
        assert "is not valid TOML" in problem

    def test_variables_and_flags_are_told_by_their_names(self) -> None:
        problems = problems_of({"udp_port": "x"}, {"ANTIPHON_PORT": "-1", "ANTIPHON_CONTROL_PROT": "1", "ANTIPHON_CONTROL_ROOMS": ""})
        assert [problem.split(":")[0] for problem in problems] == [
            "ANTIPHON_CONTROL_PROT",
            "ANTIPHON_PORT",
            "ANTIPHON_CONTROL_ROOMS",
            "--udp-port",
        ]

    def test_other_programs_variables_do_not_matter(self) -> None:
        load({}, {"PORT": "x", "ANTIPHON_SHARD_HOST": "x", "HOME": "/"}, None)


def test_every_option_says_what_it_is_and_in_which_unit() -> None:
    for name, field in ControlConfig.model_fields.items():
        assert field.description, name
        for suffix, unit in (("_ms", "Milliseconds"), ("_s", "s"), ("_bytes", "Bytes|bytes")):
            if name.endswith(suffix):
                assert any(word in field.description for word in unit.split("|")), name
