"""The upload: the order of fields, the idle time, checksums, and the files that stay behind."""

import hashlib
import socket
import ssl

import pytest

from tests.pve.browser import Client
from tests.pve.conftest import rights
from tests.pve.upload import UploadReader

PATH = "/nodes/pve1/storage/local/upload"
CONTENT = bytes(range(256)) * 300
SHA256 = hashlib.sha256(CONTENT).hexdigest()
GOOD = [("content", "iso"), ("checksum-algorithm", "sha256"), ("checksum", SHA256)]
MARK = "winseed-boundary"


def part(name, value):
    return f'--{MARK}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()


def body(fields, *, name="a.iso", field="filename", content=CONTENT, quoted=True):
    file_name = f'; filename="{name}"' if quoted else ""
    head = f'--{MARK}\r\nContent-Disposition: form-data; name="{field}"{file_name}\r\n'
    head += "Content-Type: application/octet-stream\r\n\r\n"
    fields_part = b"".join(part(*item) for item in fields)
    return fields_part + head.encode() + content + f"\r\n--{MARK}--\r\n".encode()


def send(client, content, *, path=PATH, kind=f"multipart/form-data; boundary={MARK}"):
    return client.session.post(
        client.base + path,
        data=content,
        headers={"Content-Type": kind},
        verify=client.ca,
        timeout=5,
    )


def test_an_upload_arrives_as_it_was_sent(client, pve):
    assert client.task(send(client, body(GOOD))) == "OK"
    rows = client.data("/nodes/pve1/storage/local/content", content="iso")
    assert ("local:iso/a.iso", len(CONTENT)) in [(row["volid"], row["size"]) for row in rows]
    stored = pve.volume("local:iso/a.iso", "pve1")
    assert (stored.content, stored.sha256) == (CONTENT, SHA256)
    assert pve.volume("local:iso/a.iso", "pve2") is None


def test_requests_own_multipart_in_the_right_order_passes(client, pve):
    fields = [(name, (None, value)) for name, value in GOOD]
    response = client.session.post(
        client.base + PATH,
        files=[*fields, ("filename", ("b.iso", CONTENT))],
        verify=client.ca,
        timeout=5,
    )
    assert client.task(response) == "OK"
    assert pve.volume("local:iso/b.iso").content == CONTENT


@pytest.mark.parametrize(
    ("content", "status", "reason"),
    [
        (body([]), 400, "Parameter verification failed."),
        (body([GOOD[0], GOOD[2], GOOD[1]]), 400, "Bad Request"),
        (body([GOOD[1], GOOD[0]]), 400, "Bad Request"),
        (body(GOOD, field="file"), 500, "wrong field name 'file'"),
        (body(GOOD, quoted=False), 500, "upload failed"),
        (body(GOOD, name="a.txt"), 400, "Parameter verification failed."),
        (body([("content", "images")]), 400, "Parameter verification failed."),
    ],
    ids=["no content", "sum first", "algorithm first", "field", "no name", "extension", "kind"],
)
def test_what_the_reader_of_uploads_refuses(client, content, status, reason):
    refused = send(client, content)
    assert refused.status_code == status
    assert reason in refused.reason


def test_a_wrong_sum_fails_in_the_task(client, pve):
    fields = [*GOOD[:2], ("checksum", "0" * 64)]
    exit_status = client.task(send(client, body(fields)))
    assert exit_status == f"checksum mismatch: got '{SHA256}' != expect '{'0' * 64}'"
    assert pve.volume("local:iso/a.iso") is None


def test_names_are_cleaned_and_files_overwritten_silently(client, pve):
    assert client.task(send(client, body(GOOD, name="bad name \u00fc.iso"))) == "OK"
    assert pve.volume("local:iso/bad_name___.iso").size == len(CONTENT)
    assert client.task(send(client, body([GOOD[0]], name="win2025.iso", content=b""))) == "OK"
    assert pve.volume("local:iso/win2025.iso", "pve1").size == 0


def test_header_bytes_run_into_the_file_when_a_read_ends_between(client, pve):
    content = body([GOOD[0]])
    split = content.index(b"Content-Type: application")
    reader = UploadReader(MARK, len(content))
    reader.feed(content[:split])
    reader.feed(content[split:])
    assert reader.done
    assert reader.size == len(CONTENT) + len("\r\nContent-Type: application/octet-stream\r\n\r\n")
    whole = UploadReader(MARK, len(content))
    whole.feed(content)
    assert whole.content == CONTENT


def test_every_other_split_is_harmless():
    content = body(GOOD, content=b"--" + MARK[:4].encode() + b"\r\n" * 20)
    header = content.index(b'filename="a.iso"'), content.index(b"octet-stream\r\n\r\n") + 16
    for split in range(1, len(content)):
        if header[0] < split < header[1]:
            continue
        reader = UploadReader(MARK, len(content))
        reader.feed(content[:split])
        reader.feed(content[split:])
        assert reader.content == b"--" + MARK[:4].encode() + b"\r\n" * 20, split


def test_a_corrupted_upload_is_seen_by_its_sum(client, pve):
    pve.mangle_upload = lambda chunk: chunk.replace(b"octet-stream\r\n\r\n", b"x\r\n\r\nOOPS")
    assert client.task(send(client, body([GOOD[0]], name="b.iso"))) == "OK"
    assert pve.volume("local:iso/b.iso").content != CONTENT
    assert client.task(send(client, body(GOOD))).startswith("checksum mismatch")


def test_a_sender_that_stalls_is_cut(client, pve):
    pve.idle_seconds = 0.2
    content = body(GOOD)
    head = f"POST /api2/json{PATH} HTTP/1.1\r\nHost: pve1\r\nContent-Length: {len(content)}\r\n"
    head += f"Authorization: {client.session.headers['Authorization']}\r\n"
    head += f"Content-Type: multipart/form-data; boundary={MARK}\r\n\r\n"
    context = ssl.create_default_context(cafile=pve.ca_file)
    with (
        socket.create_connection(("127.0.0.1", pve.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as secured,
    ):
        secured.sendall(head.encode() + content[:1000])
        assert secured.recv(1000) == b""
    assert pve.volume("local:iso/a.iso") is None


def test_a_slow_backend_loses_the_file_and_the_client(client, pve):
    pve.upload_answer_seconds = 8
    with pytest.raises(OSError, match="Remote end closed"):
        send(client, body(GOOD))
    rows = client.data("/nodes/pve1/tasks", typefilter="imgcopy")
    assert rows[0]["status"].endswith("No such file or directory")
    assert pve.volume("local:iso/a.iso") is None


def test_the_task_runs_on_the_node_that_was_contacted(client, pve, release):
    response = send(client, body(GOOD), path="/nodes/pve2/storage/local/upload")
    upid = response.json()["data"]
    assert upid.startswith("UPID:pve1:")
    assert client.get(f"/nodes/pve2/tasks/{upid}/status").status_code == 400
    assert client.exit_of(upid) == "OK"
    assert pve.volume("local:iso/a.iso", "pve2").content == CONTENT


@pytest.mark.parametrize("path", ["/" + PATH, PATH + "/", "/nodes/pve1/storage//upload"])
def test_any_other_path_is_no_upload(client, path):
    assert send(client, body(GOOD), path=path).status_code in {501, 506}


def test_rights_to_upload_and_to_delete_differ(pve, client, release):
    client.task(send(client, body(GOOD)))
    volume = "/nodes/pve1/storage/local/content/local:iso/a.iso"
    refused = client.delete(volume)
    assert (refused.status_code, refused.reason) == (
        403,
        "Permission check failed (/storage/local, Datastore.Allocate)",
    )
    looking = Client(pve, pve.token("look@pve", ["Datastore.Audit"]))
    assert send(looking, body(GOOD)).status_code == 403
    allowed = {"/": rights(release), "/storage/local": ["Datastore.Allocate", "Datastore.Audit"]}
    owner = Client(pve, pve.token("own@pve", allowed))
    assert owner.delete(volume, delay=5).json()["data"] is None
    assert pve.volume("local:iso/a.iso") is None


def test_deleting_asks_no_vm(pve, client):
    volid = pve.add_iso("local", "used.iso", size=1000)
    pve.add_vm(101, config={"sata0": f"{volid},media=cdrom"})
    root = Client(pve, pve.token("r@pve", pve.schema.privileges))
    assert root.task(root.delete(f"/nodes/pve1/storage/local/content/{volid}")) == "OK"
    start = client.post("/nodes/pve1/qemu/101/status/start")
    assert client.task(start) == f"volume '{volid}' does not exist"


def test_storages_are_filtered_by_right_node_and_content(pve, client):
    pve.add_storage("isos", kind="nfs", shared=True)
    pve.add_storage("other", nodes=("pve2",))
    rows = client.data("/nodes/pve1/storage", content="iso", enabled=1)
    assert {row["storage"] for row in rows} == {"local", "isos"}
    only = Client(pve, pve.token("o@pve", {"/storage/isos": ["Datastore.Audit"]}))
    assert [row["storage"] for row in only.data("/nodes/pve1/storage")] == ["isos"]
    assert client.get("/nodes/pve1/storage/other/content").status_code == 500


def test_the_root_of_the_node_needs_room_too(client, pve):
    pve.node("pve1").root_free = 1000
    refused = send(client, body(GOOD))
    assert (refused.status_code, pve.volume("local:iso/a.iso")) == (500, None)
    assert "No space left on device" in refused.reason
