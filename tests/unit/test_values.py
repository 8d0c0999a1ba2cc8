"""Values that cannot be wrong: what they take, and what they say to what they refuse."""

import hashlib

import pytest

from builder.values import (
    ComputerName,
    Secret,
    check_account,
    check_dns_name,
    check_interface,
    check_key,
    check_text,
    derive_mac,
    find_weakness,
    load_mac,
    load_password,
)


@pytest.mark.parametrize("name", ["a", "DC01", "fifteen-letters", "1a", "a--b"])
def test_computer_names(name):
    assert ComputerName(name) == name


@pytest.mark.parametrize(
    "name", ["", "sixteen-letters1", "-a", "a-", "a.b", "a_b", "12", "ä", "a\n", "Domain", "a b"]
)
def test_no_computer_names(name):
    with pytest.raises(ValueError, match="name"):
        ComputerName(name)


@pytest.mark.parametrize("text", ["bc:24:11:00:00:01", "BC-24-11-00-00-01", "bc24.1100.0001"])
def test_mac_addresses(text):
    assert load_mac(text) == "BC:24:11:00:00:01"


@pytest.mark.parametrize("text", ["", "bc:24:11:00:00", "01:00:00:00:00:00", "gg:24:11:00:00:01"])
def test_no_mac_addresses(text):
    with pytest.raises(ValueError, match="MAC address"):
        load_mac(text)


def test_derived_mac_is_the_same_at_every_build():
    """Its letter is fixed: a host must keep its address when winseed is updated."""
    digest = hashlib.sha256(b"winseed\0winsrv\0" + b"0").hexdigest().upper()
    assert (
        derive_mac("winseed", "WINSRV", 0) == f"BC:24:11:{digest[:2]}:{digest[2:4]}:{digest[4:6]}"
    )
    others = [derive_mac("winseed", "winsrv", 1), derive_mac("other", "winsrv", 0)]
    assert len({derive_mac("winseed", "winsrv", 0), *others}) == 3


@pytest.mark.parametrize(
    "code", [0, 9, 10, 13, 31, 0x7F, 0x85, 0x9F, 0xD800, 0x2028, 0x2029, 0xFFFE, 0xFFFF, 0x1FFFE]
)
def test_text_that_no_answer_file_carries(code):
    with pytest.raises(ValueError, match=f"U\\+{code:04X}"):
        check_text(f"a{chr(code)}")


def test_text_that_it_does():
    text = "ä &<>\"'`^%!$\\ \u00a0\ufeff\ue000\U0001f600"
    assert check_text(text) == text


def test_secrets_do_not_show():
    secret = Secret("s3cret")
    assert "s3cret" not in f"{secret} {secret!r} {[secret]} {secret:}"
    assert secret.reveal() == "s3cret"
    assert secret == Secret("s3cret") != Secret("other")
    assert secret != "s3cret"
    assert hash(secret) == hash(Secret("s3cret"))


@pytest.mark.parametrize("text", ["", "x" * 128, "𝄞" * 64, "a\tb", "a\0"])
def test_passwords_that_setup_cannot_set(text):
    """The length counts in UTF-16, as Windows counts."""
    with pytest.raises(ValueError, match=r"password has 1 to 127|cannot stand"):
        load_password(text)


@pytest.mark.parametrize("text", [" ", "x" * 127, "𝄞" * 63, "&^%!\"'<>$\\`"])
def test_passwords(text):
    assert load_password(text).reveal() == text


@pytest.mark.parametrize(
    ("text", "strong"),
    [
        ("Given-Pass 1", True),
        ("abcDE1", True),
        ("abc-12", True),
        ("äöüÄÖ1", True),
        ("密码密码aB", True),
        ("aB1-x", False),
        ("abcdefgh", False),
        ("ABCdefgh", False),
        ("12345678-", False),
        ("My-Operator1", False),
    ],
)
def test_passwords_that_windows_server_takes(text, strong):
    """learn.microsoft.com, "Password must meet complexity requirements"."""
    assert (find_weakness(text, "operator") == "") is strong


def test_product_keys():
    assert check_key("bcdfg-hjkmp-qrtvw-xy234-6789n") == "BCDFG-HJKMP-QRTVW-XY234-6789N"
    for wrong in ("", "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE", "BCDFG-HJKMP-QRTVW-XY234"):
        with pytest.raises(ValueError, match="five groups"):
            check_key(wrong)


@pytest.mark.parametrize("name", ["a", "ad.example.com", "_msdcs.x", "a" * 63, "1.2"])
def test_dns_names(name):
    assert check_dns_name(f"{name}.") == name


@pytest.mark.parametrize("name", ["", ".", "a..b", "-a", "a-", "a" * 64, "ä.de", "a b", "x." * 128])
def test_no_dns_names(name):
    with pytest.raises(ValueError, match="DNS name"):
        check_dns_name(name)


@pytest.mark.parametrize("name", ["ops", "o'brien & co", "Jürgen", "x" * 20, ".a"])
def test_account_names(name):
    assert check_account(name) == name


@pytest.mark.parametrize("name", ["", " ", ". .", " a", "a ", "x" * 21, "a\\b", "a@b", 'a"b', "a*"])
def test_no_account_names(name):
    with pytest.raises(ValueError, match="account name"):
        check_account(name)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("192.0.2.10/24", "192.0.2.10/24"),
        ("192.0.2.0/31", "192.0.2.0/31"),
        ("192.0.2.0/32", "192.0.2.0/32"),
        ("2001:0DB8::0/64", "2001:db8::/64"),
    ],
)
def test_interfaces(text, short):
    assert check_interface(text) == short


@pytest.mark.parametrize(
    "text", ["", "192.0.2.1", "192.0.2.0/24", "192.0.2.255/24", "127.0.0.1/8", "ff02::1/64", "::/0"]
)
def test_no_interfaces(text):
    with pytest.raises(ValueError, match=r"."):
        check_interface(text)
