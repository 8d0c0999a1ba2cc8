"""The serial port of a VM, read while it runs: what our own scripts write to COM1.

`termproxy` gives a port and a ticket (VM.Console), `vncwebsocket` leads there; the first line is
`user:ticket`, the answer `OK`, then the port's bytes come as they are (proxmox/pve-xtermjs at
89075b0, termproxy/src/main.rs). Behind it stand `qm terminal` and socat: QEMU's socket serves one
client at a time, and what is written while nobody listens is lost.

API tokens are taken there since qemu-server 8.4.8 and 9.1.8 (April 2026, `--vncticket-endpoint`);
before that termproxy hangs up instead of `OK` (luthermonson/go-proxmox#221). So everything may be
missing here, and no run depends on it: nothing is raised.
"""

import collections
import re
import threading
from types import TracebackType
from typing import Self

from builder.proxmox.api import Api
from builder.proxmox.failures import PveError, Trouble
from builder.proxmox.websocket import Channel, make_proxy, open_channel
from builder.record import record

LINES = 200  # kept, and as many that start with MARKER
LONGEST_LINE = 1000  # characters; the rest of a line goes into the next one
MARKER = "winseed: "
WELCOME = b"OK"
# seconds before each new try; when all are used up in a row, nobody is there to be listened to.
# 12 min: a VM that is stopped, installed by hand and started again is found
WAITS = (1.0, 2.0, 5.0, 10.0, 20.0, *[30.0] * 23)
REFUSALS = 3  # connections in a row that end before `OK`: the ticket is not taken
CONNECTIONS = 100  # in all: each of them is a task in the node's log
STEADY = 60.0  # seconds after which a connection was a good one
HELLO = 10.0  # seconds until `OK`: what termproxy waits for us, too
PING = 30.0  # seconds between signs of life, as the web console sends them
BEAT = 0.5  # seconds until a closed reader notices
_FINAL = {Trouble.FORBIDDEN, Trouble.TOKEN, Trouble.UNTRUSTED, Trouble.MISSING, Trouble.PARAMETERS}
# qemu-server at e6352be, src/PVE/CLI/qm.pm `terminal`: said by the node, not by the guest
_NODE = re.compile(r"starting serial terminal on interface serial\d.*|VM \d+ not running")
_NO_PORT = re.compile(
    r"serial interface '\w+' is not configured|wrong serial type on interface '\w+'"
)
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|[()][0-9A-Za-z]|[@-Z\\-_=>])")
_ENDS = re.compile(rb"\r\n|\n|\r(?!\Z)")  # at the very end: perhaps half of \r\n


@record
class SerialLine:
    """A line of the port, without what moves a cursor; `at` is the clock's time of its end."""

    at: float
    text: str


class LineSplitter:
    """Makes lines of bytes as they come. Bytes that are no UTF-8 are shown as \\xNN."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, content: bytes) -> list[str]:
        r"""The lines that `content` ends; \r\n, \n and \r end one, and so does a great length."""
        text = self._rest + content
        *ended, rest = _ENDS.split(text)
        pieces = [line[i : i + LONGEST_LINE] for line in ended for i in _starts(line)]
        while len(rest) > LONGEST_LINE:
            pieces.append(rest[:LONGEST_LINE])
            rest = rest[LONGEST_LINE:]
        self._rest = rest
        return [text for text in map(_readable, pieces) if text]

    def flush(self) -> list[str]:
        """What has no end yet."""
        rest, self._rest = self._rest, b""
        return [text for text in [_readable(rest)] if text]


def _starts(line: bytes) -> range:
    return range(0, max(len(line), 1), LONGEST_LINE)


def _readable(line: bytes) -> str:
    text = _ESCAPES.sub("", line.decode("utf-8", "backslashreplace"))
    return "".join(sign if sign.isprintable() else " " for sign in text).rstrip()


class SerialReader:
    """Listens to a serial port from `with` to its end, in a thread of its own.

    Nothing is raised: what is missing is missing, `trouble` tells why. While it listens nobody else
    hears the port (`qm terminal` waits for its turn), and it waits its turn in the same way. A VM
    that stops and starts is found again. Closing takes half a second, up to 20 s while a node does
    not answer; no thread is left then.
    """

    def __init__(
        self,
        api: Api,
        node: str,
        vmid: int,
        *,
        port: str = "serial0",
        waits: tuple[float, ...] = WAITS,
    ) -> None:
        self._api = api
        self._node, self._vmid, self._port, self._waits = node, vmid, port, waits
        self._now = api.clock.now
        self._guard = threading.Lock()
        self._lines: collections.deque[SerialLine] = collections.deque(maxlen=LINES)
        self._markers: collections.deque[SerialLine] = collections.deque(maxlen=LINES)
        self._splitter = LineSplitter()
        self._fresh = self._reached = self._greeted = False  # of the present connection
        self._trouble: PveError | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"serial port of VM {vmid}", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up and end the thread. What was heard stays."""
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()

    def lines(self) -> tuple[SerialLine, ...]:
        """The last LINES lines, oldest first."""
        with self._guard:
            return tuple(self._lines)

    def markers(self) -> tuple[SerialLine, ...]:
        """The last LINES of those that start with MARKER, however much came between them."""
        with self._guard:
            return tuple(self._markers)

    @property
    def trouble(self) -> PveError | None:
        """Why nobody listens at the moment; None while somebody does."""
        return self._trouble

    @property
    def listening(self) -> bool:
        """Whether the reader is at the port, or will try again."""
        return self._thread.is_alive() and not self._closed.is_set()

    def _run(self) -> None:
        waits, refusals = list(self._waits), 0
        for _ in range(CONNECTIONS):
            began = self._now()
            self._trouble = self._listen_once()
            refusals = refusals + 1 if self._reached and not self._greeted else 0
            if self._now() - began >= STEADY:
                waits = list(self._waits)
            if self._closed.is_set() or not waits or _is_final(self._trouble):
                return
            if refusals >= REFUSALS:
                self._trouble = self._refusal()
                return
            if self._closed.wait(waits.pop(0)):
                return

    def _listen_once(self) -> PveError | None:
        """Listen as long as it goes; what ended it."""
        self._fresh, self._reached, self._greeted = True, False, False
        try:
            self._listen()
        except PveError as error:
            return error
        except Exception as error:  # a bug: told like the rest, for a run must not end of it
            name = type(error).__name__
            return PveError(f"the reader of the serial port broke: {name}", trouble=Trouble.REFUSED)
        finally:
            self._keep(self._splitter.flush())
        return None

    def _listen(self) -> None:
        proxy = make_proxy(self._api, self._node, self._vmid, "termproxy", {"serial": self._port})
        until = self._now() + HELLO
        with open_channel(self._api, self._node, self._vmid, proxy, until=until) as channel:
            self._reached = True
            channel.send(f"{proxy.user}:{proxy.ticket.reveal()}\n".encode(), until=until)
            heard = b""
            while len(heard) < len(WELCOME):
                block = self._poll(channel)
                if self._closed.is_set():
                    return
                if not block and self._now() >= until:
                    raise self._silence()
                heard += block
            if not heard.startswith(WELCOME):
                raise self._silence()
            self._greeted, self._trouble = True, None
            self._keep(self._splitter.feed(heard.removeprefix(WELCOME)))
            self._follow(channel)

    def _follow(self, channel: Channel) -> None:
        ping = self._now() + PING
        while not self._closed.is_set():
            self._keep(self._splitter.feed(self._poll(channel)))
            if self._now() >= ping:
                channel.send(b"2", until=self._now() + PING)
                ping = self._now() + PING

    def _poll(self, channel: Channel) -> bytes:
        return channel.poll(until=self._now() + BEAT)

    def _keep(self, texts: list[str]) -> None:
        for text in texts:
            if self._fresh and _NO_PORT.fullmatch(text):
                raise PveError(
                    f"VM {self._vmid}: {text}",
                    trouble=Trouble.MISSING,
                    hint=f"`qm set {self._vmid} --{self._port} socket` adds it from the next start",
                )
            self._fresh = False
            if _NODE.fullmatch(text):
                continue
            line = SerialLine(at=self._now(), text=text)
            with self._guard:
                self._lines.append(line)
                if text.startswith(MARKER):
                    self._markers.append(line)

    def _silence(self) -> PveError:
        return PveError(
            f"termproxy on {self._node} did not take the ticket for VM {self._vmid}",
            trouble=Trouble.UNKNOWN,
        )

    def _refusal(self) -> PveError:
        return PveError(
            f"termproxy on {self._node} does not take the ticket of an API token",
            trouble=Trouble.REFUSED,
            hint="it does since qemu-server 8.4.8 and 9.1.8; without it the run sees no markers",
        )


def _is_final(trouble: PveError | None) -> bool:
    return trouble is not None and trouble.trouble in _FINAL
