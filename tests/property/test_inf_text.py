"""INF files of any bytes, and any sound INF in any form of text."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st

from builder.errors import WinseedError
from builder.media.inf import load_inf

PIECES = st.one_of(
    st.sampled_from('[]=,;"\\%@| \t\r\n\x1a\0é\u2028aM'),
    st.sampled_from(["%%", "\r\n", "....", ".10.0", "NTamd64", "0x", "%a%", "9" * 12]),
    st.sampled_from(["CatalogFile", "AddService", "CopyFiles", 'Signature="$Windows NT$"\n']),
    st.sampled_from(
        ["Version", "Strings", "Manufacturer", "SourceDisksFiles", "M.NTamd64", "i.NT"]
    ).map("[{}]\n".format),
)
WORDS = st.text("abcXYZ019_-.& ()'{}äß", min_size=1, max_size=20).map(str.strip).filter(bool)
ENCODINGS = st.sampled_from(
    [(b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be"), (b"\xef\xbb\xbf", "utf-8")]
)


@settings(max_examples=150, deadline=1000)
@given(st.binary(max_size=400))
def test_any_bytes(data):
    with contextlib.suppress(WinseedError):
        load_inf(data, name="any.inf")


@settings(max_examples=300, deadline=1000)
@given(st.lists(PIECES, max_size=60).map("".join))
def test_any_text(text):
    with contextlib.suppress(WinseedError):
        load_inf(b'[Version]\nSignature="$Windows NT$"\n' + text.encode(), name="any.inf")


@settings(max_examples=150, deadline=1000)
@given(
    st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=6),
    st.lists(st.sampled_from(["\r\n", "\n", " ; remark\r\n", "\t;\n\r\n"]), min_size=3, max_size=9),
    ENCODINGS,
    st.booleans(),
)
def test_what_is_written_is_read(devices, ends, encoding, quoted):
    """Descriptions and ids come back, whatever the line ends, quotation marks and encoding."""
    mark = '"' if quoted else ""
    lines = ["[vERSION]", "signature=$CHICAGO$", "[Manufacturer]", "Acme=M,ntAMD64", "[m.NTamd64]"]
    lines += [f"{mark}{name}{mark} = inst , {mark}{one}{mark}" for name, one in devices]
    text = "".join(line + ends[i % len(ends)] for i, line in enumerate(lines))
    inf = load_inf(encoding[0] + text.encode(encoding[1]), name="any.inf")
    (models,) = (one for one in inf.models if one.fits("amd64"))
    assert [(d.description, d.hardware_id) for d in models.devices] == devices
