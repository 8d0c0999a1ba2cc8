"""Whatever the bytes are, the reader of answer files gives a tree with exact places or a reason."""

import time

import pytest

from builder.answer.document import BYTE_LIMIT, Broken, Document, load_document
from builder.answer.lint import lint_answer

FRAME = '<unattend xmlns="urn:schemas-microsoft-com:unattend">{}</unattend>'


def document(text: bytes) -> Document:
    found = load_document(text)
    assert isinstance(found, Document), found
    return found


def broken(text: bytes) -> Broken:
    found = load_document(text)
    assert isinstance(found, Broken)
    return found


def rules(text: bytes) -> list[str]:
    return [finding.id for finding in lint_answer(text, name="a.xml")]


def test_places_count_characters_from_one() -> None:
    root = document("<a>\n \té😀<b/>\r\n<c/></a>".encode()).root
    assert [(e.name, e.line, e.column) for e in root.walk()] == [
        ("a", 1, 1),
        ("b", 2, 5),
        ("c", 3, 1),
    ]


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", ""),
        ("utf-8-sig", "UTF-8"),
        ("utf-16", "utf-16"),
        ("utf-16-le", ""),
        ("utf-16-be", ""),
        ("utf-8", "utf8"),
        ("cp1252", "windows-1252"),
        ("latin-1", "ISO-8859-1"),
        ("gbk", "GBK"),
        ("ascii", "us-ascii"),
    ],
)
def test_encodings(encoding: str, declared: str) -> None:
    sign = {"ascii": "e", "gbk": "中"}.get(encoding, "é")
    head = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    root = document(f"{head}<a>{sign}<b/></a>".encode(encoding)).root
    assert root.text == sign
    assert root.children[0].column == len(head) + 5


@pytest.mark.parametrize(
    "head",
    [
        'encoding="rot13"',
        'encoding="hex"',
        'encoding="unicode_escape"',
        'encoding="undefined"',
        'encoding="no-such"',
        'encoding="utf-16"',
        'encoding="idna"',
    ],
)
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_encodings_that_are_none(head: str, mark: bytes) -> None:
    text = mark + f'<?xml version="1.0" {head}?><a>\\Z</a>'.encode()
    assert broken(text).cause == "WS003"


def test_a_blank_at_the_end_of_a_namespace_is_taken() -> None:
    """libxml2 refuses it, Windows does not: two public files have it."""
    found = document(b'<a xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance "/>')
    assert found.root.name == "a"


def test_a_prefix_that_is_not_declared_is_refused() -> None:
    assert broken(b'<a wcm:action="add"/>').cause == "WS001"


BOMB = "".join(f'<!ENTITY e{i} "{f"&e{i - 1};" * 10}">' for i in range(1, 40))


@pytest.mark.parametrize(
    "subset",
    [
        f'<!ENTITY e0 "x">{BOMB}',
        '<!ENTITY e39 SYSTEM "file:///etc/passwd">',
        '<!ENTITY e39 SYSTEM "http://192.0.2.1/x">',
        '<!ENTITY % p SYSTEM "http://192.0.2.1/x"> %p;',
        f'<!ATTLIST a b CDATA "{"x" * 100_000}">',
    ],
    ids=["bomb", "file", "address", "parameter", "attribute"],
)
def test_declarations_are_not_read(subset: str) -> None:
    text = f"<!DOCTYPE a [{subset}]>\n<a>&e39;</a>".encode()
    started = time.process_time()
    found = broken(text)
    assert (found.cause, found.line, found.column) == ("WS002", 1, 1)
    assert time.process_time() - started < 1


def test_an_outer_doctype_is_not_fetched() -> None:
    text = '<!DOCTYPE unattend SYSTEM "http://192.0.2.1/x.dtd">' + FRAME.format("")
    assert "WS007" in rules(text.encode())


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        (b"<a/>" * 1, "WS005"),
        (b"", "WS001"),
        (b"\0" * 1000, "WS001"),
        (b"<a>" * 100, "WS004"),
        (b"<r>" + b"<a/>" * 60_000 + b"</r>", "WS004"),
        (b"\xff\xfe<", "WS003"),
        (b"PK\x03\x04", "WS001"),
    ],
)
def test_what_is_no_answer_file(text: bytes, cause: str) -> None:
    assert rules(text) == [cause]


@pytest.mark.parametrize(
    "text",
    [
        b"<a>" + b"x" * (50 << 20) + b"</a>",
        b"<a>" + b"<b/>" * (12 << 20) + b"</a>",
        FRAME.format("<settings>" + "x<b/>" * 9_900 + "</settings>").encode(),
        b"<a " + b" ".join(b'a%d="x"' % i for i in range(100_000)) + b"/>",
        b" " * (BYTE_LIMIT + 1),
        FRAME.format(
            '<settings pass="specialize">'
            + "".join(f'<component name="Microsoft-Windows-Shell-Setu{i}"/>' for i in range(9000))
            + "</settings>"
        ).encode(),
    ],
    ids=["text", "elements", "mixed", "attributes", "bytes", "names"],
)
def test_size_costs_no_minutes(text: bytes) -> None:
    started = time.process_time()
    found = rules(text)
    assert found
    assert time.process_time() - started < 5


SETUP_BODY = """<settings pass="windowsPE"><component name="Microsoft-Windows-Setup">
  {}</component></settings>"""
SHELL_BODY = """<settings pass="oobeSystem"><component name="Microsoft-Windows-Shell-Setup">
  {}</component></settings>"""
DISKS = "<DiskConfiguration>" + "<Disk><DiskID>1</DiskID></Disk>" * 2000 + "</DiskConfiguration>"
PLACES = "<ImageInstall><OSImage>{}</OSImage></ImageInstall>".format(
    "<InstallTo><DiskID>2</DiskID><PartitionID>1</PartitionID></InstallTo>" * 1900
)
CHANGES = """<DiskConfiguration><Disk><CreatePartitions>{}</CreatePartitions>
  <ModifyPartitions>{}</ModifyPartitions></Disk></DiskConfiguration>""".format(
    "<CreatePartition><Order>1</Order></CreatePartition>" * 2400,
    "<ModifyPartition><PartitionID>9</PartitionID></ModifyPartition>" * 2400,
)
LOGONS = (
    "<AutoLogon><Enabled>true</Enabled><Username>a</Username></AutoLogon>" * 1600
    + "<UserAccounts><LocalAccounts>"
    + "<LocalAccount><Name>b</Name></LocalAccount>" * 2400
    + "</LocalAccounts></UserAccounts>"
)


@pytest.mark.parametrize(
    "body",
    [
        SETUP_BODY.format(DISKS + PLACES),
        SETUP_BODY.format(CHANGES),
        SHELL_BODY.format(LOGONS),
        SHELL_BODY.format("<OOBE><ProtectYourPC>3</ProtectYourPC></OOBE>" * 4900),
        SETUP_BODY.format("<UserData><ProductKey><Key/></ProductKey></UserData>" * 3300),
    ],
    ids=["disks", "partitions", "logons", "oobe", "keys"],
)
def test_no_rule_is_slow(body: str) -> None:
    started = time.process_time()
    assert "WS004" not in rules(FRAME.format(body).encode())
    assert time.process_time() - started < 5


@pytest.mark.parametrize(
    "value",
    [
        "shutdown " * 7000,
        "Set-Service " * 5000,
        "{{" * 30_000,
        "${" * 30_000,
        "@a" * 30_000,
        "__a" * 20_000,
    ],
)
def test_no_pattern_is_slow(value: str) -> None:
    body = f"""<settings pass="specialize"><component name="Microsoft-Windows-Deployment">
      <RunSynchronous><RunSynchronousCommand><Path>{value}</Path></RunSynchronousCommand>
      </RunSynchronous></component></settings>"""
    started = time.process_time()
    assert rules(FRAME.format(body).encode())
    assert time.process_time() - started < 2


@pytest.mark.parametrize(
    "text",
    [
        "{% if domain %}<a>{% endif %}",
        "<unattend {{#if x}}>",
        "<a><% if x %></a>",
        FRAME.format("{% if a %}<settings/>{% else %}<settings/>{% endif %}"),
        FRAME.format("%{ if a }<settings/>%{ endif }"),
    ],
)
def test_a_template_gets_one_advice(text: str) -> None:
    assert rules(text.encode()) == ["WS006"]


def test_powershell_blocks_make_no_template() -> None:
    body = "<settings pass='specialize'/><!-- gci | %{ if ($_) { 1 } } -->"
    assert "WS006" not in rules(FRAME.format(body).encode())


def test_paths_count_brothers() -> None:
    root = document(FRAME.format('<settings pass="x"><a/><a/></settings>').encode()).root
    assert [e.path for e in root.walk()][2:] == [
        "/unattend/settings[@pass='x']/a[1]",
        "/unattend/settings[@pass='x']/a[2]",
    ]
