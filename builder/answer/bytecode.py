"""Compiled templates, kept where Python keeps its own bytecode."""

import contextlib
import hashlib
import importlib.util
import os
import sys
import tempfile
from pathlib import Path

import jinja2
from jinja2.bccache import Bucket


class TemplateBytecode(jinja2.BytecodeCache):
    """Bytecode of the templates, in `__pycache__` beside `source` or below PYTHONPYCACHEPREFIX.

    Compiling the templates takes longer than rendering them. As with Python's own bytecode, a
    folder that cannot be written is no error, and PYTHONDONTWRITEBYTECODE is obeyed. A changed
    template, `source` (the module that sets the environment up) or Jinja makes a kept file stale.
    """

    def __init__(self, source: Path, *, variant: str) -> None:
        compiler = Path(jinja2.__file__).with_name("compiler.py").stat()
        made_by = f"{variant} {compiler.st_size} {compiler.st_mtime_ns} ".encode()
        self._made_by = hashlib.sha256(made_by + source.read_bytes()).hexdigest()
        self._source = source

    def load_bytecode(self, bucket: Bucket) -> None:
        """Fill the bucket, if there is something for it."""
        # EOFError, ValueError, pickle's own: what a file cut short by a full disk may raise
        with contextlib.suppress(Exception), self._path(bucket).open("rb") as file:
            if file.read(len(self._made_by)) == self._made_by.encode():
                bucket.load_bytecode(file)

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keep the bucket, if that is possible."""
        if sys.dont_write_bytecode:
            return
        path = self._path(bucket)
        with contextlib.suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            descriptor, draft = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(self._made_by.encode() + bucket.bytecode_to_string())
                Path(draft).chmod(0o644)
                Path(draft).replace(path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise

    def get_cache_key(self, name: str, filename: str | None = None) -> str:  # noqa: ARG002
        """The template's name as part of a file name."""
        return name.replace("/", "-").removesuffix(".j2")

    def _path(self, bucket: Bucket) -> Path:
        return Path(importlib.util.cache_from_source(f"{self._source.parent}/{bucket.key}.j2"))
