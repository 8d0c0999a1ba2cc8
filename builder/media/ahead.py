"""Reading ahead: a forked process inspects discs on another core while this one still imports.

It is a convenience and never a need: it only reads, may be ended at any moment, and whatever goes
wrong there the shelf reads again for itself, which tells the error as well.
"""

import contextlib
import copyreg
import fcntl
import gc
import os
import pickle
import signal
import threading
from collections.abc import Iterable, Sequence
from types import MappingProxyType
from typing import Any, BinaryIO, NoReturn

from builder.errors import WinseedError
from builder.media.shelf import Shelf

Question = tuple[str, tuple[Any, ...]]  # a reader of the shelf and its arguments
# Questions that may wait: with the longest paths they fill no pipe (64 KiB), so neither side waits
# for the other.
MOST_WAITING = 12
PIPE_SIZE = 1 << 20  # what Linux allows everybody (fs.pipe-max-size)


class Ahead:
    """The other process, as its parent knows it. Its answers come in the order of the questions."""

    def __init__(
        self, child: int, questions: BinaryIO, answers: BinaryIO, asked: Iterable[Question]
    ) -> None:
        self._child: int | None = child
        self._questions = questions
        self._from_child = answers
        self._waiting = list(asked)
        self._answers: dict[Question, Any] = {}

    def ask(self, question: Question) -> None:
        """Have something inspected; the answer is taken later."""
        if question in self._answers or question in self._waiting:
            return
        while len(self._waiting) >= MOST_WAITING:
            self._receive()
        if self._child is None:
            return
        try:
            pickle.dump(question, self._questions)
            self._questions.flush()
        except OSError:
            self.close()
        else:
            self._waiting.append(question)

    def answer(self, question: Question) -> Any:
        """What was found; None when the other process failed or is gone."""
        self.ask(question)
        while question in self._waiting:
            self._receive()
        return self._answers.get(question)

    def close(self) -> None:
        """End the other process. What it has told stays; more than once does no harm."""
        self._waiting.clear()
        if self._child is None:
            return
        child, self._child = self._child, None
        os.kill(child, signal.SIGKILL)  # it writes nothing, so nothing stays half-written
        os.waitpid(child, 0)
        self._from_child.close()
        with contextlib.suppress(OSError):  # half a question that Ctrl-C left
            self._questions.close()

    def _receive(self) -> None:
        try:
            answer = pickle.load(self._from_child)  # noqa: S301 - from our own child
        except (OSError, EOFError, pickle.UnpicklingError):
            self.close()
        else:
            self._answers[self._waiting.pop(0)] = answer


def start_reading(questions: Sequence[Question]) -> Ahead | None:
    """Fork a process that answers `questions` and those asked later.

    None where that would not be safe (threads run), of no use (one core) or is refused.
    """
    if threading.active_count() > 1 or len(os.sched_getaffinity(0)) < 2:
        return None
    ends: list[int] = []
    kept = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # Ctrl-C is for the parent
    try:
        ends += os.pipe()
        ends += os.pipe()
        _widen(ends[-1])
        child = os.fork()
        if child == 0:
            _answer_and_end(questions, ends)
    except OSError:
        for end in ends:
            os.close(end)
        return None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, kept)
    its_questions, our_questions, our_answers, its_answers = ends
    os.close(its_questions)
    os.close(its_answers)
    return Ahead(
        child, os.fdopen(our_questions, "wb"), os.fdopen(our_answers, "rb"), asked=questions
    )


def _widen(pipe: int) -> None:
    """Room for the tables of a disc, or the child would wait until its parent takes them."""
    with contextlib.suppress(OSError):  # the system has its own idea of enough
        fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


def _answer_and_end(questions: Sequence[Question], ends: Sequence[int]) -> NoReturn:
    """The life of the other process; nothing of its parent's is flushed, told or cleaned up.

    It ends with its parent: then there is nobody who asks, or takes an answer.
    """
    try:
        source, asker, taker, target = ends
        os.close(asker)  # or it would keep its own questions open
        os.close(taker)
        gc.disable()
        shelf = Shelf()
        with os.fdopen(source, "rb") as more, os.fdopen(target, "wb") as answers:
            for question in questions:
                _tell(answers, shelf, question)
            if "virtio" in {reader for reader, _ in questions}:
                from builder.media import ctl, signer  # noqa: F401, PLC0415 - for its packages
            while True:
                _tell(answers, shelf, pickle.load(more))  # noqa: S301 - from our own parent
    finally:
        os._exit(0)


def _tell(answers: BinaryIO, shelf: Shelf, question: Question) -> None:
    reader, arguments = question
    try:
        answer = getattr(shelf, reader)(*arguments)
    except WinseedError:
        answer = None
    pickler = pickle.Pickler(answers, pickle.HIGHEST_PROTOCOL)
    pickler.dispatch_table = copyreg.dispatch_table | {MappingProxyType: _reduce_mapping}
    pickler.dump(answer)
    answers.flush()


def _reduce_mapping(mapping: Any) -> tuple[Any, ...]:
    return _read_only, (dict(mapping),)


def _read_only(mapping: dict[Any, Any]) -> Any:
    return MappingProxyType(mapping)  # pickle knows no name for the type itself
