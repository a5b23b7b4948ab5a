"""A library's GPU code cut down to one architecture: a library is made here, trimmed, and read again."""

import struct
from pathlib import Path

import pytest

from helpers.errors import CookbookError
from maintain.delivery.fatbin import ELF64, MACHINE, MAGIC, PTX, SPECIFIC, Trimmed, fatbins, trim, usable

CODE = b"code"


def entry(kind: int, architecture: int, flags: int = 0, code: bytes = CODE * 4) -> bytes:
    """One entry: 64 bytes of header, then the code."""
    head = bytearray(64)
    struct.pack_into("<HHIQ", head, 0, kind, 0x101, 64, len(code))
    struct.pack_into("<IIIQ", head, 28, architecture, 0, 0, flags)
    return bytes(head) + code


def fatbin(*entries: bytes) -> bytes:
    body = b"".join(entries)
    return struct.pack("<IHHQ", MAGIC, 1, 16, len(body)) + body


def library(path: Path, *binaries: bytes) -> Path:
    """A 64-bit ELF file with a section of fat binaries, a symbol table that is not loaded, and text that is."""
    names = b"\0.nv_fatbin\0.symtab\0.text\0.shstrtab\0"
    parts = {".nv_fatbin": b"".join(binaries), ".symtab": b"symbols!", ".text": b"program!", ".shstrtab": names}
    rows, body = [bytes(64)], b""
    for name, content in parts.items():
        flags = 2 if name in (".nv_fatbin", ".text") else 0
        place = names.index(name.encode() + b"\0"), 64 + len(body)
        rows.append(struct.pack("<IIQQQQIIQQ", place[0], 1, flags, 0, place[1], len(content), 0, 0, 1, 0))
        body += content
    head = bytearray(64)
    head[:6] = ELF64
    struct.pack_into("<Q", head, 40, 64 + len(body))
    struct.pack_into("<HHH", head, 58, 64, len(rows), len(rows) - 1)
    path.write_bytes(bytes(head) + body + b"".join(rows))
    return path


def test_what_another_card_runs_becomes_zeros_and_nothing_moves(tmp_path: Path) -> None:
    first = fatbin(
        entry(MACHINE, 80), entry(MACHINE, 90), entry(MACHINE, 90, SPECIFIC), entry(PTX, 90), entry(MACHINE, 100)
    )
    second = fatbin(entry(PTX, 80), entry(PTX, 70), entry(MACHINE, 80))
    third = fatbin(entry(MACHINE, 100, SPECIFIC))
    path = library(tmp_path / "lib.so", first, bytes(8), second, third)
    before = path.read_bytes()
    assert trim(path, 90) == Trimmed(fatbins=3, kept=3, zeroed=6, unusable=1, bytes_zeroed=6 * 16 + 8)
    after = path.read_bytes()
    assert len(after) == len(before) and after.count(CODE * 4) == 3
    assert b"program!" in after and b"symbols!" not in after
    left = [
        [(e.kind, e.architecture) for e in entries if any(after[e.offset : e.offset + e.size])]
        for entries in fatbins(after)
    ]
    assert left == [[(MACHINE, 90), (MACHINE, 90)], [(PTX, 80)], []]
    assert trim(path, 90).kept == 3, "once more changes nothing"
    assert path.read_bytes() == after


@pytest.mark.parametrize(("sm", "kept"), [(90, 70), (89, 86), (86, 86), (80, 80), (100, 70), (70, 70)])
def test_a_card_takes_machine_code_of_its_generation_else_older_ptx(tmp_path: Path, sm: int, kept: int) -> None:
    made = fatbin(entry(MACHINE, 80), entry(MACHINE, 86), entry(PTX, 70))
    (entries,) = fatbins(library(tmp_path / "lib.so", made).read_bytes())
    assert [one.architecture for one in usable(entries, sm)] == [kept]


def test_a_file_of_another_kind_stays_as_it_is(tmp_path: Path) -> None:
    text = tmp_path / "lib.so"
    text.write_bytes(b"GROUP ( libm.so.6 )")
    assert trim(text, 90) == Trimmed() and text.read_bytes() == b"GROUP ( libm.so.6 )"
    text.write_bytes(b"")
    assert trim(text, 90) == Trimmed()


WHOLE = fatbin(entry(MACHINE, 90))
SHORT = WHOLE[:8] + struct.pack("<Q", len(WHOLE) - 24) + WHOLE[16:]  # its entry reaches past its end


@pytest.mark.parametrize("broken", [b"not a fat binary", SHORT], ids=["no fat binary", "too short"])
def test_a_form_that_is_not_known_is_refused_before_a_byte_is_changed(tmp_path: Path, broken: bytes) -> None:
    path = library(tmp_path / "lib.so", fatbin(entry(MACHINE, 80)), broken)
    before = path.read_bytes()
    with pytest.raises(CookbookError):
        trim(path, 90)
    assert path.read_bytes() == before
