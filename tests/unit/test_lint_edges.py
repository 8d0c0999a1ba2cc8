"""Edges of single rules: the value beside the limit, the spelling that is allowed, the template."""

from pathlib import Path

import pytest

from builder.answer.lint import lint_answer

GOOD = (Path(__file__).parent.parent / "lint" / "cases" / "server-2022.xml").read_text("utf-8")
JOIN = "<UnsecureJoin>true</UnsecureJoin>"
KEY = "<Key>VDYBN-27WPP-V4HQT-9VMD4-VMK7H</Key>"
EXTENDED = """<CreatePartition wcm:action="add"><Order>1</Order><Type>Primary</Type>
  <Size>300</Size></CreatePartition><CreatePartition wcm:action="add"><Order>2</Order>
  <Type>Extended</Type><Extend>true</Extend></CreatePartition><CreatePartition wcm:action="add">
  <Order>3</Order><Type>Logical</Type><Extend>true</Extend></CreatePartition>"""


def rules(*edits: tuple[str, str], release: str | None = None) -> list[str]:
    text = GOOD
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    return [finding.id for finding in lint_answer(text.encode(), name="a.xml", release=release)]


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        (JOIN, "<Credentials><Password>Tr0ub4dor</Password></Credentials>", "WS901"),
        (JOIN, "<MachinePassword>Tr0ub4dor</MachinePassword>", "WS901"),
        ("<Extend>true</Extend>", "<Size>19999</Size>", "WS213"),
        ("192.0.2.10/24", "192.0.2.10/33", "WS601"),
        ("192.0.2.10/24", "192.0.2.10/-1", "WS601"),
        ("192.0.2.10/24", "192.0.2.10/٢", "WS601"),
        ("VMK7H", "VMK7!", "WS314"),
        ("SRV-01", "12345", "WS404"),
        ("SRV-01", "SRV 01", "WS404"),
        ("SRV-01", "ÄÖÜÄÖÜÄÖ", "WS404"),
        ("<Order>1</Order>", "<Order>0</Order>", "WS111"),
        ("<Order>1</Order>", "<Order>1.5</Order>", "WS110"),
        ("<Order>2</Order>\n          <Path>reg", "<Order> 1 </Order><Path>reg", "WS121"),
        ("W. Europe Standard Time", "CET", "WS804"),
        ("Microsoft-Windows-TCPIP", "TCPIP", "WS102"),
        ("Microsoft-Windows-TCPIP", "Shell-Setup", "WS102"),
    ],
)
def test_it_is_told(old: str, new: str, rule: str) -> None:
    assert rule in rules((old, new))


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("<Value>Windows Server 2022 SERVERSTANDARD", "<Value>{{ image }}", "WS307"),
        ("<Order>1</Order>", "<Order>{{ order }}</Order>", "WS110"),
        ("<WillWipeDisk>true", "<WillWipeDisk>%wipe%", "WS108"),
        ("W. Europe Standard Time", "@zone@", "WS804"),
        ("<HideEULAPage>", "<NetworkLocation>Work</NetworkLocation><HideEULAPage>", "WS128"),
        ("SRV-01", "*", "WS404"),
        ("SRV-01", "%COMPUTERNAME%", "WS404"),
        ("192.0.2.10/24", "192.0.2.10/32", "WS601"),
        (KEY, KEY.lower().replace("key", "Key"), "WS314"),
        ("<Key>/IMAGE/NAME</Key>", "<Key>/image/index</Key>", "WS112"),
        ("W. Europe Standard Time", "utc", "WS804"),
        ("<UILanguage>en-US", "<UILanguage>zh-CN", "WS802"),
        ("<UILanguage>en-US", "<UILanguage>zh-TW", "WS802"),
        ("D:\\vioscsi\\2k22", "D:\\vioscsi\\2k19", "WS702"),
    ],
)
def test_it_is_not_told(old: str, new: str, rule: str) -> None:
    assert rule not in rules((old, new))


def test_place_holders_are_never_equal() -> None:
    first, second = "<Order>1</Order>", "<Order>2</Order>\n          <Path>reg"
    same = "<Order>{{ n }}</Order>"
    assert "WS121" not in rules((first, same), (second, same + "<Path>reg"))


def test_an_extended_partition_may_come_before_its_logical_ones() -> None:
    start, end = GOOD.index("<CreatePartition "), GOOD.index("</CreatePartitions>")
    found = rules((GOOD[start:end], EXTENDED))
    assert not {"WS205", "WS207"} & set(found)


@pytest.mark.parametrize(("release", "rule"), [("2016", "WS315"), ("2019", "WS303")])
def test_an_empty_key_stops_server_2019_and_later(release: str, rule: str) -> None:
    assert rule in rules((KEY, "<Key/>"), release=release)


def test_a_new_container_is_told_once() -> None:
    body = """<OfflineUserAccounts><OfflineAdministratorPassword><Value/>
      </OfflineAdministratorPassword></OfflineUserAccounts>"""
    settings = f"""<settings pass="offlineServicing"><component
      name="Microsoft-Windows-Shell-Setup" processorArchitecture="amd64"
      publicKeyToken="31bf3856ad364e35" language="neutral">{body}</component></settings>"""
    place = '<settings pass="specialize">'
    assert rules((place, settings + place), release="2012r2").count("WS126") == 1


def test_a_wrong_pass_is_told_once() -> None:
    found = rules(('<settings pass="oobeSystem">', '<settings pass="generalize">'))
    assert found.count("WS107") == 4  # UserAccounts, AutoLogon, FirstLogonCommands, OOBE


def test_the_release_is_read_from_the_key() -> None:
    start, end = GOOD.index("<InstallFrom>"), GOOD.index("</InstallFrom>") + len("</InstallFrom>")
    folder = ("D:\\vioscsi\\2k22", "D:\\vioscsi\\2k25")
    assert "WS702" in rules((GOOD[start:end], ""), folder)


def test_many_findings_of_one_rule_are_cut() -> None:
    many = "<X/>" * 500
    assert rules(("<AcceptEula>", many + "<AcceptEula>")).count("WS103") == 50
