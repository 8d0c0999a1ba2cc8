"""The page of a rehearsal in a real browser: content, narrow screens, accessibility by axe-core.

Needs Chromium (Debian package chromium); axe-core comes from the PyPI package axe-core-python.
"""

import html
import importlib.util
import json
import re
import shutil
import struct
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path

import pytest

from builder.answer.render import render_page
from builder.rehearsal.drawing import page_values
from builder.rehearsal.facts import Content
from builder.rehearsal.make import rehearse
from tests import rehearsals as base
from tests.rehearsals import Scene, config_with

ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=20000",
)
STOPPED = Scene(
    config=config_with("order=scsi0;ide2", "order=ide2").replace("00:00:01", "00:00:02"),
    content=Content.UNKNOWN,
    answer=base.ANSWER.replace("CD", "&lt;b&gt;CD"),
)
NARROW = 375
PROBE = """
<script>
addEventListener("load", async () => {
  const root = document.documentElement;
  const wide = [...document.querySelectorAll("body *")].filter(one =>
    one.getBoundingClientRect().right > innerWidth + 0.5 && !one.closest(".scroll")
    && getComputedStyle(one).position !== "absolute").map(one => one.outerHTML.slice(0, 120));
  const result = await axe.run(document);
  const violations = result.violations.map(one => ({
    id: one.id, nodes: one.nodes.map(node => node.html.slice(0, 200))}));
  const passes = result.passes.map(one => one.id);
  parent.postMessage(JSON.stringify(
    {key, width: innerWidth, scroll: root.scrollWidth, wide, violations, passes}), "*");
});
</script>
"""


@pytest.fixture(scope="module")
def browser():
    found = shutil.which("chromium")
    if found is None:
        pytest.skip("chromium is missing: apt install chromium")
    return found


@pytest.fixture(scope="module")
def axe():
    spec = importlib.util.find_spec("axe_core_python")
    if spec is None or spec.origin is None:
        pytest.skip("axe-core is missing: pip install axe-core-python")
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf-8")


def page(scene):
    values = page_values(rehearse(scene.facts()), version="0.0")
    return render_page("rehearsal.html.j2", values).decode()


def run(browser, folder, *arguments):
    profile = folder / "profile"
    command = [browser, *ARGUMENTS, f"--user-data-dir={profile}", *arguments]
    done = subprocess.run(command, capture_output=True, timeout=120, check=False)
    shutil.rmtree(profile, ignore_errors=True)
    return done.stdout.decode("utf-8", "replace")


PAGES = {
    "good": lambda: page(Scene()),
    "stopped": lambda: page(STOPPED),
    "bad": lambda: (
        page(Scene())
        .replace('<html lang="en">', "<html>")
        .replace("--soft: #4d5860", "--soft: #bbb")
        .replace("<main>", '<main><div style="width:600px">wide</div>')
    ),
}
WIDTHS = (320, NARROW, 1280)
SHOWN = [
    (name, scheme, width)
    for name in ("good", "stopped")
    for scheme, width in (*(("light", width) for width in WIDTHS), ("dark", NARROW))
]
FRAMES = (*SHOWN, ("bad", "light", NARROW))


@pytest.fixture(scope="module")
def found(browser, axe, tmp_path_factory):
    """What a script finds in frames of exact widths, light and dark: one run of the browser."""
    folder = tmp_path_factory.mktemp("frames")
    (folder / "axe.js").write_text(axe)
    frames = []
    for name, scheme, width in FRAMES:
        text = PAGES[name]()
        if scheme == "dark":
            assert "(prefers-color-scheme: dark)" in text
            text = text.replace("(prefers-color-scheme: dark)", "all")
        key = f"{name}-{scheme}-{width}"
        probe = f"<script src=axe.js></script><script>const key = '{key}'</script>{PROBE}"
        (folder / f"{key}.html").write_text(text.replace("</head>", f"{probe}</head>"))
        style = f"width:{width}px;height:900px;border:0"
        frames.append(f"<iframe src='{key}.html' style='{style}'></iframe>")
    (folder / "all.html").write_text(
        "<!DOCTYPE html><html><body><div id=told></div><script>"
        "addEventListener('message', one => { const line = document.createElement('pre');"
        " line.textContent = one.data; document.getElementById('told').append(line) })</script>"
        f"{''.join(frames)}</body></html>"
    )
    dumped = run(browser, folder, "--dump-dom", (folder / "all.html").as_uri())
    lines = re.findall(r"<pre>(.*?)</pre>", dumped, re.DOTALL)
    told = [json.loads(html.unescape(line)) for line in lines]
    assert len(told) == len(frames), dumped[:400]
    return {one["key"]: one for one in told}


class Links(HTMLParser):
    """Everything that a page could ask the network for."""

    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            asks = name in {"src", "srcset", "data", "action"} or (
                name in {"href", "xlink:href"} and not value.startswith("#")
            )
            if asks or tag in {"script", "link", "iframe", "object", "embed"}:
                self.found.append((tag, name, value))


@pytest.mark.parametrize("scene", [Scene(), STOPPED], ids=["good", "stopped"])
def test_nothing_is_asked_of_the_network(scene):
    text = page(scene)
    links = Links()
    links.feed(text)
    assert links.found == []
    assert "url(" not in text
    assert "@import" not in text


def test_what_discs_say_is_escaped():
    facts = Scene(config=config_with("name: srv01", "name: <b>x</b>")).facts()
    text = render_page("rehearsal.html.j2", page_values(rehearse(facts), version="0")).decode()
    assert "<b>x</b>" not in text
    assert "&lt;b&gt;x&lt;/b&gt;" in text


def pixels(path):
    """Width, height and the set of colours of a PNG of 8-bit RGB or RGBA, every 7th row."""
    data = path.read_bytes()
    at, body = 8, b""
    while at < len(data):
        (size,) = struct.unpack_from(">L", data, at)
        kind = data[at + 4 : at + 8]
        if kind == b"IHDR":
            width, height, depth, colour = struct.unpack_from(">LLBB", data, at + 8)
        if kind == b"IDAT":
            body += data[at + 8 : at + 8 + size]
        at += size + 12
    assert depth == 8
    return width, height, {2: 3, 6: 4}[colour], zlib.decompress(body)


def test_a_screenshot_has_content(browser, tmp_path):
    (tmp_path / "page.html").write_text(page(Scene()))
    shot = tmp_path / "page.png"
    address = (tmp_path / "page.html").as_uri()
    run(browser, tmp_path, "--window-size=1280,2400", f"--screenshot={shot}", address)
    width, height, _, body = pixels(shot)
    assert (width, height) == (1280, 2400)
    # an empty page of this size compresses its rows to one colour: hardly a distinct byte pattern
    rows = {body[at : at + 400] for at in range(0, len(body), 1280 * 3 // 4)}
    assert len(rows) > 500
    assert shot.stat().st_size > 60_000


@pytest.mark.parametrize("name", ["good", "stopped"])
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_fits(found, name, width):
    frame = found[f"{name}-light-{width}"]
    assert frame["width"] == width
    assert frame["scroll"] <= width
    assert frame["wide"] == []


@pytest.mark.parametrize(("name", "scheme", "width"), SHOWN)
def test_axe_finds_no_violation(found, name, scheme, width):
    frame = found[f"{name}-{scheme}-{width}"]
    assert frame["violations"] == []
    assert "color-contrast" in frame["passes"]


def test_a_bad_page_would_be_seen(found):
    frame = found[f"bad-light-{NARROW}"]
    assert frame["scroll"] > NARROW
    assert frame["wide"]
    assert {"html-has-lang", "color-contrast"} <= {one["id"] for one in frame["violations"]}
