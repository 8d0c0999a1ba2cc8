"""A record behaves as the dataclass that it stands for."""

import copy
import dataclasses
import pickle

import pytest

from builder.record import record


def _body():
    class Point:
        """A point."""

        x: int
        y: int = 0
        tags: list[str] = dataclasses.field(default_factory=list)
        secret: str = dataclasses.field(default="s", repr=False)
        note: str = dataclasses.field(default="", compare=False)

        def __post_init__(self) -> None:
            if self.x < 0:
                raise ValueError("x")

        @property
        def sum(self) -> int:
            return self.x + self.y

    return Point


MADE = {"record": record(_body()), "dataclass": dataclasses.dataclass(frozen=True, kw_only=True)(_body())}  # noqa: E501 # fmt: skip
Point = MADE["record"]
Point.__qualname__ = "Point"  # or pickle would look for it in a function


@record
class Empty:
    """Nothing in it."""


@record
class Key:
    """What may be hashed."""

    one: int
    two: str = ""


@record
class Longer(Key):
    """A record may grow."""

    three: int = 3


@pytest.mark.parametrize("kind", MADE)
class TestBoth:
    """Told once, held against our records and against the library's dataclasses."""

    def test_values_and_defaults(self, kind):
        made = MADE[kind]
        one, other = made(x=1), made(x=1)
        assert (one.x, one.y, one.tags, one.secret, one.sum) == (1, 0, [], "s", 1)
        assert one.tags is not other.tags
        assert made(x=2, y=3, tags=["a"]).tags == ["a"]

    def test_wrong_calls(self, kind):
        made = MADE[kind]
        for positional, named in [((), {}), ((1,), {}), ((), {"x": 1, "z": 2}), ((), {"y": 1})]:
            with pytest.raises(TypeError):
                made(*positional, **named)
        with pytest.raises(ValueError, match="x"):
            made(x=-1)

    def test_equality(self, kind):
        made = MADE[kind]
        assert made(x=1) == made(x=1, note="another")
        assert made(x=1) != made(x=2)
        assert made(x=1) != (1, 0, [], "s", "")

    def test_frozen(self, kind):
        one = MADE[kind](x=1)
        for change in (lambda: setattr(one, "x", 2), lambda: setattr(one, "z", 2)):
            with pytest.raises(dataclasses.FrozenInstanceError):
                change()
        with pytest.raises(dataclasses.FrozenInstanceError):
            del one.x
        assert one.x == 1

    def test_repr_hides_what_it_shall(self, kind):
        assert repr(MADE[kind](x=1)).endswith("Point(x=1, y=0, tags=[], note='')")

    def test_what_the_library_does_with_it(self, kind):
        one = MADE[kind](x=1, y=5)
        assert dataclasses.is_dataclass(one)
        assert dataclasses.replace(one, x=7).y == 5
        assert list(dataclasses.asdict(one)) == ["x", "y", "tags", "secret", "note"]
        assert copy.deepcopy(one) == copy.copy(one) == one


def test_hash():
    assert hash(Key(one=1)) == hash(Key(two="", one=1))
    assert {Key(one=1): "a"}[Key(one=1)] == "a"
    assert len({Key(one=1), Key(one=1, two="x"), Empty(), Empty()}) == 3
    with pytest.raises(TypeError):
        hash(Point(x=1))  # it holds a list


def test_kinds_are_told_apart():
    assert Longer(one=1) != Key(one=1)
    assert Longer(one=1, three=4) != Longer(one=1)
    assert repr(Longer(one=1)) == "Longer(one=1, two='', three=3)"
    assert repr(Empty()) == "Empty()"


def test_pickle():
    for one in (Point(x=1, y=2), Longer(one=1), Empty()):
        again = pickle.loads(pickle.dumps(one))
        assert again == one
        assert type(again) is type(one)
        with pytest.raises(dataclasses.FrozenInstanceError):
            again.one = 2


def test_own_methods_stay():
    @record
    class Quiet:
        """Says nothing."""

        text: str

        def __repr__(self) -> str:
            return "***"

    assert repr(Quiet(text="secret")) == "***"
