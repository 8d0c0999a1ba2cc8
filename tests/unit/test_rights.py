"""Which privileges are needed where, and the lines that grant them."""

import dataclasses
import json
import shlex

import pytest

from builder.proxmox.rights import (
    Network,
    Subject,
    find_missing,
    make_needs,
    paths_of,
    render_grants,
)
from tests.command import ROOT

SCHEMAS = ROOT / "tests" / "pve" / "data"
SUBJECT = Subject(
    node="pve1",
    vmid=101,
    fixed=True,
    pool="",
    disk_storage="local-lvm",
    iso_storage="iso",
    media_storages=("iso", "nfs"),
    networks=(Network(bridge="vmbr0", vlan=None), Network(bridge="vmbr1", vlan=20)),
)
# written down by hand from the permission checks of the API, one by one
VM_8 = {
    *("VM.Allocate", "VM.Audit", "VM.Console", "VM.PowerMgmt", "VM.Monitor"),
    *(f"VM.Config.{part}" for part in ("CDROM", "CPU", "Disk", "HWType", "Memory", "Network")),
    "VM.Config.Options",
}
VM_9 = (VM_8 - {"VM.Monitor"}) | {"VM.GuestAgent.Unrestricted"}


def subject(**changes):
    return dataclasses.replace(SUBJECT, **changes)


def by_path(needs, *, optional=False):
    found = {}
    for need in needs:
        if need.optional is optional:
            found.setdefault(need.paths[0], set()).add(need.privilege)
    return found


@pytest.mark.parametrize(("major", "vm"), [(8, VM_8), (9, VM_9), (10, VM_9)])
def test_needs(major, vm):
    needs = make_needs(SUBJECT, major=major)
    assert by_path(needs) == {
        "/vms/101": vm,
        "/storage/local-lvm": {"Datastore.AllocateSpace"},
        "/storage/iso": {"Datastore.AllocateTemplate", "Datastore.Audit"},
        "/storage/nfs": {"Datastore.Audit"},
        "/sdn/zones/localnetwork/vmbr0": {"SDN.Use"},
        "/sdn/zones/localnetwork/vmbr1/20": {"SDN.Use"},
    }
    assert by_path(needs, optional=True) == {
        "/storage/iso": {"Datastore.Allocate"},
        "/nodes/pve1": {"Sys.Audit"},
    }


@pytest.mark.parametrize(("major", "schema"), [(8, "schema-8.4.json"), (9, "schema-9.2.json")])
def test_every_privilege_exists_in_its_release(major, schema):
    """A role that names another is refused; the list is that of the release itself."""
    known = set(json.loads((SCHEMAS / schema).read_text())["privileges"])
    assert {need.privilege for need in make_needs(SUBJECT, major=major)} <= known


def granted(needs, *without):
    found = {}
    for need in needs:
        if need.privilege not in without:
            found.setdefault(need.paths[0], set()).add(need.privilege)
    return {path: frozenset(names) for path, names in found.items()}


def test_missing():
    needs = make_needs(SUBJECT, major=9)
    assert find_missing(needs, granted(needs)) == ()
    assert find_missing(needs, {}) == needs
    for need in needs:
        held = granted(needs)
        held[need.paths[0]] -= {need.privilege}
        assert find_missing(needs, held) == (need,)


def test_a_pool_gives_what_the_vm_does_not():
    needs = make_needs(subject(pool="win"), major=9)
    vm = [need for need in needs if need.privilege.startswith("VM.")]
    assert {need.paths for need in vm} == {("/pool/win", "/vms/101")}
    assert "/pool/win" in paths_of(needs)
    for path in ("/pool/win", "/vms/101"):
        held = {path: frozenset(VM_9)}
        assert [need for need in find_missing(needs, held) if need in vm] == []


def lines(subject, *, major=9, held=None, roles=None, user="winseed@pve"):
    needs = make_needs(subject, major=major)
    missing = find_missing(needs, held or {})
    return render_grants(
        [need for need in missing if not need.optional],
        [need for need in missing if need.optional],
        needs,
        roles=roles or {},
        user=user,
        token="install",
    )


def acl(command):
    """Path, whom, roles of `pveum acl modify`."""
    words = shlex.split(command)
    assert words[:3] == ["pveum", "acl", "modify"]
    return words[3], words[5], words[7].split(",")


def apply(commands, roles=None):
    """What the lines leave behind, as `pveum` reads them (AccessControl.pm: per path and whom)."""
    roles, acls = dict(roles or {}), {}
    for command in commands:
        words = shlex.split(command)
        if words[:3] == ["pveum", "role", "add"]:
            assert words[3] not in roles, "add refuses a role that is there"
            roles[words[3]] = set(words[5].split(","))
        elif words[:3] == ["pveum", "role", "modify"]:
            assert words[4:6] == ["--append", "1"]
            roles[words[3]] = set(roles[words[3]]) | set(words[7].split(","))
        else:
            path, whom, names = acl(command)
            acls.setdefault((path, whom), set()).update(names)
    return {key: set().union(*(roles[name] for name in names)) for key, names in acls.items()}


def test_the_lines_give_exactly_what_is_needed():
    grants = lines(SUBJECT)
    left = apply(grants.required)
    for whom in ("winseed@pve", "winseed@pve!install"):
        mine = {path: names for (path, who), names in left.items() if who == whom}
        assert mine == by_path(make_needs(SUBJECT, major=9))
    both = apply((*grants.required, *grants.optional))
    assert both["/storage/iso", "winseed@pve!install"] == {
        *("Datastore.Allocate", "Datastore.AllocateTemplate", "Datastore.Audit")
    }
    assert both["/nodes/pve1", "winseed@pve"] == {"Sys.Audit"}


def test_root_needs_lines_for_its_token_only():
    assert not any("--users" in line for line in lines(SUBJECT, user="root@pam").required)
    assert "--tokens 'root@pam!install'" in lines(SUBJECT, user="root@pam").required[-1]


def test_an_acl_takes_nothing_away():
    """One right is missing on a path: what is inherited there would go with the new ACL."""
    needs = make_needs(SUBJECT, major=9)
    held = granted(needs, "Datastore.Audit")
    left = apply(lines(SUBJECT, held=held).required)
    assert left["/storage/iso", "winseed@pve"] == {
        *("Datastore.Allocate", "Datastore.AllocateTemplate", "Datastore.Audit")
    }
    held = granted(needs, "Datastore.Allocate")
    grants = lines(SUBJECT, held=held)
    assert grants.required == ()
    assert apply(grants.optional)["/storage/iso", "winseed@pve"] == {
        *("Datastore.Allocate", "Datastore.AllocateTemplate", "Datastore.Audit")
    }


def test_roles_that_are_there():
    roles = {"WinseedVM": frozenset(VM_9), "WinseedISO": frozenset({"Datastore.Audit"})}
    commands = lines(SUBJECT, roles=roles).required
    assert "pveum role modify WinseedISO --append 1 --privs Datastore.AllocateTemplate" in commands
    assert not any("role add WinseedVM" in line or "modify WinseedVM" in line for line in commands)
    apply(commands, roles)


def test_a_drawn_vmid_is_granted_on_all():
    assert any(" /vms " in line for line in lines(subject(fixed=False)).required)
    pool = lines(subject(fixed=False, pool="a/b")).required
    assert any(" /pool/a/b " in line for line in pool)
    assert not any(" /vms " in line for line in pool)


def test_one_storage_for_both():
    left = apply(lines(subject(iso_storage="local", disk_storage="local")).required)
    assert left["/storage/local", "winseed@pve"] == {
        *("Datastore.AllocateSpace", "Datastore.AllocateTemplate", "Datastore.Audit")
    }
