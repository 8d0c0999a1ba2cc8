"""A clock that only a test moves; give it to the fake and to the code that is tested."""


class Clock:
    """Seconds since some start."""

    def __init__(self, now: float = 1000.0):
        self.now = now

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += max(0.0, seconds)
