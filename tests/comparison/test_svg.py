"""Scales and ticks of pictures."""

import xml.etree.ElementTree as ET

import pytest

from hf_squareloss.comparison._svg import Scale, bottom_axis, picture, scale, shown_range, text


def test_a_scale_goes_from_its_low_to_its_high() -> None:
    linear = Scale(10.0, 20.0, 0.0, 100.0)
    assert [linear(v) for v in (10, 15, 20)] == [0, 50, 100] and linear.clamped(99) == 100
    downwards = Scale(0.0, 1.0, 100.0, 0.0)
    assert downwards(0.25) == 75
    logarithmic = Scale(0.01, 100.0, 0.0, 100.0, logarithmic=True)
    assert [logarithmic(v) for v in (0.01, 1.0, 100.0)] == pytest.approx([0, 50, 100])


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.71, 0.79, [0.72, 0.74, 0.76, 0.78]),
        (-3.0, 7.0, [-2.0, 0.0, 2.0, 4.0, 6.0]),
        (1, 4, [1, 2, 3, 4]),
        (120, 980, [200, 400, 600, 800]),
    ],
)
def test_ticks_are_round_and_few(low: float, high: float, ticks: list[float]) -> None:
    assert Scale(low, high, 0, 1).ticks() == pytest.approx(ticks)


def test_epochs_are_whole_where_they_can_be() -> None:
    def numbers(low: float, high: float) -> list[str | None]:
        drawn = picture(9, bottom_axis(Scale(low, high, 0, 1), 0, "epochs", whole=True), "d")
        return [e.text for e in ET.fromstring(drawn) if e.attrib.get("class") == "tick"]

    assert numbers(1, 2) == ["1", "2"] and numbers(0.2, 0.8) == ["0.2", "0.4", "0.6", "0.8"]


def test_logarithmic_ticks() -> None:
    assert Scale(0.3, 3.0, 0, 1, logarithmic=True).ticks() == [0.5, 1, 2]
    assert Scale(0.1, 1000.0, 0, 1, logarithmic=True).ticks() == [0.1, 1, 10, 100, 1000]


def test_a_scale_holds_its_values_even_if_they_are_one() -> None:
    for values in ([], [0.5], [0.5, 0.5], [0.0], [-3.0, 9.0]):
        found = scale(values, 0, 1)
        assert all(0 < found(value) < 1 for value in values) and 1 <= len(found.ticks()) <= 7
    ratio = scale([0.3, 3.0], 0, 1, logarithmic=True)
    assert 0 < ratio(0.3) < ratio(1) < ratio(3.0) < 1
    assert scale([1.0], 0, 1, logarithmic=True)(1.0) == pytest.approx(0.5)


def test_wide_intervals_do_not_flatten_the_points() -> None:
    assert shown_range([1.0, 2.0], [(-100.0, 100.0)]) == (-100.0, 100.0)  # there is no shorter one
    assert shown_range([1.0, 2.0], [(-100.0, 100.0), (1.0, 1.5)]) == (0.0, 3.0)
    assert shown_range([1.0, 2.0], [(0.9, 2.5)]) == (0.9, 2.5)
    assert shown_range([1.0], []) == (1.0, 1.0)


def test_words_are_escaped() -> None:
    drawn = picture(10, [text(0, 0, "<b> & c"), *bottom_axis(scale([0, 1], 0, 300), 5, '"quoted"')], 'a "b" <c>')
    root = ET.fromstring(drawn)
    assert root.attrib["aria-label"] == 'a "b" <c>' and root[1].text == "<b> & c"
