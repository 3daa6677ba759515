"""Records are dataclasses to the outside, and frozen."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from envcheck.record import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Point:
    """A point."""

    x: int
    y: int = 0
    tags: tuple[str, ...] = ()
    more: dict[str, int] = field(default_factory=dict)

    @functools.cached_property
    def total(self) -> int:
        return self.x + self.y


def test_values_defaults_equality_and_repr() -> None:
    point = Point(x=1)
    assert (point.x, point.y, point.tags, point.more) == (1, 0, (), {})
    assert point == Point(x=1, y=0)
    assert point != Point(x=2)
    assert repr(point) == "Point(x=1, y=0, tags=(), more={})"
    assert Point(x=1).more is not point.more


def test_cached_properties_are_no_values() -> None:
    point = Point(x=1, y=2)
    assert point.total == 3
    assert point == Point(x=1, y=2)


def test_hash_follows_the_values() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Key:
        """A key."""

        name: str

    assert {Key(name="a"): 1}[Key(name="a")] == 1


def test_the_dataclasses_module_knows_them() -> None:
    point = dataclasses.replace(Point(x=1), y=5)
    assert [f.name for f in dataclasses.fields(point)] == ["x", "y", "tags", "more"]
    assert dataclasses.is_dataclass(point)
    assert point.y == 5


def test_records_are_frozen() -> None:
    point = Point(x=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        point.x = 2  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        del point.x


@pytest.mark.parametrize(("values", "words"), [({}, "missing x"), ({"x": 1, "z": 2}, "unexpected z")])
def test_wrong_fields_are_named(values: dict[str, int], words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Point(**values)


def test_other_options_are_refused() -> None:
    with pytest.raises(TypeError, match="frozen and keyword-only"):
        dataclass(frozen=False, kw_only=True)
