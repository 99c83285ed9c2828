"""Scenarios: the shipped ones, and what is said of wrong ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.scenario import Quality, Scenario, ScenarioError, changed, load, shipped


def test_every_shipped_scenario_loads_and_says_what_it_is() -> None:
    assert {"call", "rooms", "panel", "webinar", "storm", "churn", "pauses"} <= set(shipped())
    for name in shipped():
        scenario = load(name)
        assert scenario.title
        assert scenario.description
        assert scenario.quality == Quality()


@pytest.mark.parametrize(
    ("name", "participants", "streams"),
    [("call", 3, 6), ("rooms", 200, 600), ("panel", 50, 2450), ("webinar", 1001, 1000), ("storm", 200, 360)],
)
def test_what_they_are_known_for(name: str, participants: int, streams: int) -> None:
    scenario = load(name)
    assert (scenario.participants, scenario.streams) == (participants, streams)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("colour = 'blue'", "colour: there is no such key"),
        ("rooms = 0", "rooms: expected `int` >= 1"),
        ("rooms = 'many'\npublishers = 1", "rooms: expected `int`, got `str`"),
        ("publishers = 1\n[talk]\npause = 1", "talk.pause: there is no such key"),
        ("publishers = 1\n[[faults]]\nkind = 'flood'\nat_s = 1", "faults[0].kind: invalid enum value 'flood'"),
        ("publishers = 1\n[quality]\nmax_loss_ratio = 2", "quality.max_loss_ratio: expected `float` <= 1"),
        ("rooms = 3", "nobody to join"),
        ("publishers = 1000\nrooms = 1000", "participants are more than"),
        ("publishers = 1\n[talk]\npause_s = 1\ntalk_s = 0", "talk.talk_s: a spurt lasts"),
        ("rooms = ", "is not valid TOML"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(ScenarioError) as error:
        load(str(file))
    assert str(error.value).startswith(f"{file}: ")
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_a_name_that_is_none_lists_those_that_are() -> None:
    with pytest.raises(ScenarioError, match=r"shipped scenarios are .*webinar"):
        load("nonsense")


def test_flags_change_fields_and_parts() -> None:
    wanted = changed(Scenario(publishers=2), {"rooms": 7, "quality.max_loss_ratio": 0.5})
    assert (wanted.rooms, wanted.publishers, wanted.quality.max_loss_ratio, wanted.quality.min_setup_ratio) == (7, 2, 0.5, 1.0)
