"""`role = "dc"`: what the spec refuses before Windows is asked."""

from pathlib import Path

import pytest

from builder.domain.plan import Fsmo, Mode, make_dc_plan
from builder.domain.tables import dc_release, level_name, level_number
from builder.errors import ExitCode, WinseedError
from builder.releases import release_ids
from builder.spec.load import load_site
from tests.domain.plans import BODY, PARTNER, make_host, make_plan


def problems(text: str) -> dict[str, str]:
    with pytest.raises(WinseedError) as raised:
        load_site(text, source="site.toml", folder=Path(), overrides={})
    assert raised.value.code is ExitCode.SPEC
    return {
        problem.where.removeprefix("host[0]."): problem.what for problem in raised.value.problems
    }


def body(mode: str = "replacement", keys: str = PARTNER, dns: str = 'dns = ["192.0.2.12"]') -> str:
    return BODY.format(mode=mode, keys=keys, dns=dns)


NEW = body("new-forest", "", "")

REFUSED = {
    "no domain": (body().replace('domain = "ad.example.com"\n', ""), "dc.domain", "needs the name"),
    "single label": (body().replace("ad.example.com", "corp"), "dc.domain", "full DNS name"),
    "underscore": (body().replace("ad.example.com", "a_d.example.com"), "dc.domain", "underscore"),
    "no partner": (
        body(keys="credential_user = 'AD\\x'\n"),
        "dc.partner",
        "another writable DC",
    ),
    "itself": (body().replace("dc2.ad", "dc1.ad"), "dc.partner", "the host itself"),
    "child domain": (body().replace("dc2.ad", "dc2.sub.ad"), "dc.partner", "not in ad.example.com"),
    "short partner": (body().replace('"dc2.ad.example.com"', '"dc2"'), "dc.partner", "full DNS"),
    "own VM": (
        body() + "[host.machine]\nvmid = 102\n",
        "dc.partner_vmid",
        "cannot be the VM",
    ),
    "no user": (body(keys='partner = "dc2.ad.example.com"\n'), "dc.credential_user", "promote"),
    "UPN": (
        body().replace("AD\\promoter", "promoter@ad.example.com"),
        "dc.credential_user",
        "DOMAIN\\user",
    ),
    "NetBIOS twin": (body().replace('name = "dc1"', 'name = "AD"'), "name", "same NetBIOS name"),
    "long NetBIOS": (
        NEW.replace("ad.example.com", "averyverylongname.example.com"),
        "dc.netbios",
        "at most 15",
    ),
    "odd NetBIOS": (body(keys=PARTNER + 'netbios = "A.D"\n'), "dc.netbios", "NetBIOS domain name"),
    "evaluation": (body().replace('"volume"', '"eval"'), "channel", "never be converted"),
    "SATA": (
        body().replace("slot = 1", "slot = 2") + '[host.disk]\nbus = "sata"\n',
        "disk.bus",
        "Forced Unit Access",
    ),
    "write-back": (body() + '[host.disk]\ncache = "writeback"\n', "disk.cache", "loses writes"),
    "unsafe": (body() + '[host.disk]\ncache = "unsafe"\n', "disk.cache", "loses writes"),
    "system disk": (
        body(keys=PARTNER + "database_path = 'C:\\NTDS'\n"),
        "dc.database_path",
        "on no data disk",
    ),
    "share": (
        body(keys=PARTNER + "ifm_path = '\\\\srv\\ifm'\n"),
        "dc.ifm_path",
        "refused by Windows itself",
    ),
    "root": (body(keys=PARTNER + "sysvol_path = 'D:\\'\n"), "dc.sysvol_path", "local folder"),
    "dots": (body(keys=PARTNER + "sysvol_path = 'D:\\a\\..'\n"), "dc.sysvol_path", "local folder"),
    "one folder": (
        body(keys=PARTNER + "sysvol_path = 'D:\\NTDS\\sysvol'\n"),
        "dc.sysvol_path",
        "folders of their own",
    ),
    "ReFS": (body() + 'filesystem = "refs"\n', "data_disk[0].filesystem", "NTFS"),
    "kept disk": (body().replace('"fresh"', '"keep"'), "data_disk[0].on_reinstall", "kept disk"),
    "DHCP": (
        body().replace('addresses = ["192.0.2.11/24"]', ""),
        "nic",
        "static address",
    ),
    "no DNS": (body(dns=""), "nic", "domain is not found"),
    "own DNS": (body(dns='dns = ["192.0.2.11"]'), "nic[0]", "not ask itself first"),
    "loopback": (body(dns='dns = ["127.0.0.1"]'), "nic[0]", "not ask itself first"),
    "no agent": (body() + "[host.machine]\nagent = false\n", "machine.agent", "guest agent"),
    "account": (
        body() + '[[host.account]]\nname = "ops"\npassword_env = "X"\n',
        "account",
        "no local accounts",
    ),
    "join": (
        body().replace('role = "dc"', 'role = "dc"\noffline_join_file = "x"'),
        "offline_join_file",
        "from the workgroup",
    ),
    "one level": (
        body("new-forest", 'forest_level = "WinThreshold"\n', ""),
        "dc.domain_level",
        "code 74",
    ),
    "levels upside down": (
        body("new-forest", 'forest_level = "WinThreshold"\ndomain_level = "Win2012R2"\n', ""),
        "dc.domain_level",
        "lower than the forest",
    ),
    "level of 2025": (
        body("new-forest", 'forest_level = "Win2012R2"\ndomain_level = "Win2012R2"\n', "").replace(
            '"2022"', '"2025"'
        ),
        "dc.forest_level",
        "WinThreshold to WinThreshold",
    ),
    "level of 2012 R2": (
        NEW.replace('"2022"', '"2012r2"').replace(
            "[host.dc]\n",
            '[host.dc]\nforest_level = "WinThreshold"\ndomain_level = "WinThreshold"\n',
        ),
        "dc.forest_level",
        "Win2008 to Win2012R2",
    ),
    "level elsewhere": (
        body(keys=PARTNER + 'forest_level = "Win2012"\ndomain_level = "Win2012"\n'),
        "dc.forest_level",
        "new forest only",
    ),
    "partner of a forest": (
        body("new-forest", 'partner = "dc2.ad.example.com"\n', ""),
        "dc.partner",
        "no other domain controller",
    ),
    "IFM of a forest": (body("new-forest", "ifm_path = 'D:\\x'\n", ""), "dc.ifm_path", "copy"),
    "RODC without site": (body("rodc"), "dc.site", "site by itself"),
    "roles of a new DC": (
        body("additional", PARTNER + 'fsmo = "seize"\n'),
        "dc.fsmo",
        "a DC that is replaced",
    ),
    "two sources": (
        body(keys=PARTNER + 'dsrm_password_file = "x"\ndsrm_password_env = "Y"\n'),
        "dc.dsrm_password_env",
        "not from both",
    ),
    "delegation": (
        body(keys=PARTNER + "delegated_admin = 'AD\\x'\n"),
        "dc.delegated_admin",
        "only an RODC",
    ),
    "reuse": (
        body("additional", PARTNER + "reuse_account = true\n"),
        "dc.reuse_account",
        "only a replacement",
    ),
    "digits": (body().replace('name = "dc1"', 'name = "2024"'), "name", "digits only"),
    "16 characters": (
        body().replace('name = "dc1"', 'name = "domaincontroller"'),
        "name",
        "1 to 15",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    text, key, what = REFUSED[name]
    found = problems(text)
    assert key in found, found
    assert what in found[key]


@pytest.mark.parametrize("mode", ["replacement", "additional", "rodc", "new-forest"])
def test_each_mode_has_a_spec_that_holds(mode):
    plan = make_plan(mode, 'site = "HQ"\n' if mode == "rodc" else "")
    assert plan.mode is Mode(mode)
    assert plan.fqdn == "dc1.ad.example.com"
    assert plan.domain_dn == "DC=ad,DC=example,DC=com"
    assert plan.netbios == "AD"
    assert plan.fsmo is Fsmo.UNDECIDED
    assert plan.source == ("" if mode == "new-forest" else "dc2.ad.example.com")
    assert plan.forest_level == ("WinThreshold" if mode == "new-forest" else "")


def test_a_server_breaks_none_of_it():
    text = body().replace('role = "dc"', "").replace('"volume"', '"eval"')
    site = load_site(text, source="site.toml", folder=Path(), overrides={})
    with pytest.raises(WinseedError) as raised:
        make_dc_plan(site.hosts[0], site="x")
    assert raised.value.code is ExitCode.SPEC


def test_spellings_are_made_one():
    keys = PARTNER + "database_path = 'd:/NTDS/'\nnetbios = \"ad\"\n"
    plan = make_dc_plan(make_host("replacement", "", partner=keys), site="x")
    assert plan.paths.database == "D:\\NTDS"
    assert plan.netbios == "AD"


def test_every_release_has_its_row():
    for release in release_ids():
        row = dc_release(release)
        assert level_number(row.lowest_level) <= level_number(row.highest_level)
    assert [release for release in release_ids() if dc_release(release).frs] == ["2012r2", "2016"]
    assert level_name(7) == "WinThreshold"
    assert level_name(10) == "level 10"
