"""What a script told, read by type: whatever is missing or odd is an error, never a guess."""

from collections.abc import Mapping

from builder.guest.call import GuestError, GuestTrouble
from builder.guest.envelope import Json


class Told:
    """The values of one script, or of a part of them. Every reader raises GuestError."""

    def __init__(self, script: str, values: Mapping[str, Json]) -> None:
        self._script = script
        self._values = values

    def text(self, key: str) -> str:
        """A text; "" is one."""
        value = self._value(key)
        if not isinstance(value, str):
            raise self._odd(key)
        return value

    def number(self, key: str) -> int:
        """A whole number."""
        value = self._value(key)
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._odd(key)
        return value

    def flag(self, key: str) -> bool:
        """True or false."""
        value = self._value(key)
        if not isinstance(value, bool):
            raise self._odd(key)
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts."""
        items = self._items(key)
        if not all(isinstance(item, str) for item in items):
            raise self._odd(key)
        return tuple(str(item) for item in items)

    def numbers(self, key: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        found = tuple(
            item
            for item in self._items(key)
            if isinstance(item, int) and not isinstance(item, bool)
        )
        if len(found) != len(self._items(key)):
            raise self._odd(key)
        return found

    def decimals(self, key: str) -> tuple[float, ...]:
        """A list of numbers that are told as text, as `+00.0012`."""
        try:
            return tuple(float(text) for text in self.texts(key))
        except ValueError:
            raise self._odd(key) from None

    def rows(self, key: str) -> tuple["Told", ...]:
        """A list of tables."""
        return tuple(self._part(item, key) for item in self._items(key))

    def part(self, key: str) -> "Told":
        """A table."""
        return self._part(self._value(key), key)

    def _part(self, value: Json, key: str) -> "Told":
        if not isinstance(value, Mapping):
            raise self._odd(key)
        return Told(self._script, value)

    def _items(self, key: str) -> tuple[Json, ...]:
        value = self._value(key)
        if not isinstance(value, list | tuple):
            raise self._odd(key)
        return tuple(value)

    def _value(self, key: str) -> Json:
        if key not in self._values:
            raise self._odd(key)
        return self._values[key]

    def _odd(self, key: str) -> GuestError:
        return GuestError(
            f"the answer of `{self._script}` has no proper {key!r}",
            trouble=GuestTrouble.MALFORMED,
            script=self._script,
            hint="something in the guest answers in its place, or this is a bug of winseed",
        )
