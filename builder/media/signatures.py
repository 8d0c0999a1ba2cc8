"""What a file that should be an ISO image is instead, by its first bytes."""

SIGNATURES = (
    (b"PK\x03\x04", "a ZIP archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (b"\xfd7zXZ\0", "an xz archive"),
    (b"Rar!", "a RAR archive"),
    (b"QFI\xfb", "a qcow2 disk image"),
    (b"KDMV", "a VMDK disk image"),
    (b"vhdxfile", "a VHDX disk image"),
    (b"conectix", "a VHD disk image"),
    (b"MSWIM\0\0\0", "a WIM or ESD file, not the disc that holds it"),
    (b"\xd0\xcf\x11\xe0", "an MSI installer"),
    (b"\xed\xab\xee\xdb", "an RPM package, not the ISO in it"),
    (b"MZ", "a Windows program"),
)


def describe_start(start: bytes) -> str:
    """What a file that begins like this seems to be; at least 512 bytes make the best guess."""
    for signature, kind in SIGNATURES:
        if start.startswith(signature):
            return kind
    text = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page: the download saved an error or login page"
    if not start.strip(b"\0"):
        return "zeros: the download or copy did not get this far"
    if start[510:512] == b"\x55\xaa":
        return "a raw disk or USB image"
    if not any(byte < 9 for byte in start):
        return "plain text"
    return "no kind of file that winseed knows"
