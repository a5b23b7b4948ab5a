"""CUDA libraries cut down to one GPU architecture: what another card would run becomes zeros, which any archive packs away.

    python -m maintain.delivery.fatbin --capability 9.0 FILE...      in place, on a copy: the libraries then serve that card only

A library holds its GPU code in fat binaries: 16 bytes of header, then one entry for each architecture. Of every fat
binary the entries stay that a driver would choose on the given card: machine code of the same major version and not newer
(sm_90a counts as 9.0), else the newest PTX that is not newer, which the driver compiles at first use. Symbol and debug
tables that no process loads go too. Nothing moves, so every address in the file stays true.
"""

import argparse
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from helpers.errors import CookbookError

MAGIC = 0xBA55ED50  # the first word of a fat binary
HOLDERS = (".nv_fatbin", "__nv_relfatbin")  # the ELF sections that hold them
UNLOADED = (".symtab", ".strtab", ".debug")
PTX, MACHINE = 1, 2  # kinds of an entry
SPECIFIC, FAMILY = 0x100000, 0x200000  # flags: sm_90a runs on 9.0 alone, sm_100f on that family
LOADED, EMPTY = 2, 8  # an ELF section's flag SHF_ALLOC, and its type SHT_NOBITS
ELF64 = b"\x7fELF\x02\x01"  # 64 bits, little-endian


@dataclass(frozen=True)
class Section:
    """A piece of an ELF file: where it lies, and whether a process loads it."""

    name: str
    offset: int
    size: int
    loaded: bool


@dataclass(frozen=True)
class Entry:
    """The code for one architecture (90 for sm_90 and sm_90a): `offset` and `size` are those of the code itself, in bytes."""

    kind: int
    architecture: int
    flags: int
    offset: int
    size: int

    def fits(self, sm: int) -> bool:
        """Whether a card of this architecture may take the entry at all."""
        return self.architecture <= sm and (self.architecture == sm or not self.flags & (SPECIFIC | FAMILY))


@dataclass
class Trimmed:
    """What was done to a file: entries by their fate, and bytes that are zeros now."""

    fatbins: int = 0
    kept: int = 0
    zeroed: int = 0
    unusable: int = 0  # fat binaries with nothing for the card
    bytes_zeroed: int = 0

    def line(self) -> str:
        """The counts in words."""
        return (
            f"{self.fatbins} fat binaries, {self.kept} entries kept, {self.zeroed} zeroed "
            f"({self.bytes_zeroed / 1e6:.1f} MB with symbols), {self.unusable} hold nothing for this card"
        )


def sections(data: bytes | mmap.mmap) -> list[Section]:
    """The sections of an ELF file that have bytes in it; none where it is no 64-bit little-endian ELF file."""
    if data[:6] != ELF64:
        return []
    (table,) = struct.unpack_from("<Q", data, 40)
    width, count, names = struct.unpack_from("<HHH", data, 58)
    rows = [struct.unpack_from("<IIQQQQ", data, table + number * width) for number in range(count)]
    text = rows[names][4]
    return [
        Section(data[text + name : data.find(b"\0", text + name)].decode(), offset, size, bool(flags & LOADED))
        for name, kind, flags, _, offset, size in rows
        if kind != EMPTY
    ]


def fatbins(data: bytes | mmap.mmap) -> Iterator[list[Entry]]:
    """The entries of each fat binary. Raises `CookbookError` where the bytes are not what is known of the format."""
    for section in sections(data):
        at, end = section.offset, section.offset + section.size
        while section.name in HOLDERS and at + 16 <= end:
            magic, _, header, length = struct.unpack_from("<IHHQ", data, at)
            if magic == MAGIC:
                yield list(_entries(data, at + header, at + header + length))
                at += header + length
            elif any(data[at : at + 8]):
                raise CookbookError(
                    f"no fat binary at byte {at:#x}", f"in section {section.name}", "leave this file whole"
                )
            else:
                at += 8  # alignment


def _entries(data: bytes | mmap.mmap, at: int, end: int) -> Iterator[Entry]:
    while at < end:
        kind, _, header, size = struct.unpack_from("<HHIQ", data, at)
        architecture, _, _, flags = struct.unpack_from("<IIIQ", data, at + 28)
        yield Entry(kind, architecture, flags, at + header, size)
        at += header + size
    if at != end:
        raise CookbookError("the entries of a fat binary do not fill it", f"they end at byte {at:#x}, it at {end:#x}")


def usable(entries: list[Entry], sm: int) -> list[Entry]:
    """The entries that a driver would choose from on a card of architecture `sm` (90 for 9.0)."""
    fit = [entry for entry in entries if entry.fits(sm)]
    for kind, oldest in ((MACHINE, sm // 10 * 10), (PTX, 0)):
        of_kind = [entry for entry in fit if entry.kind == kind and entry.architecture >= oldest]
        if of_kind:
            best = max(entry.architecture for entry in of_kind)
            return [entry for entry in of_kind if entry.architecture == best]
    return []


def trim(path: Path, sm: int) -> Trimmed:
    """Zero in place what a card of architecture `sm` never runs; the file's size and layout stay."""
    done = Trimmed()
    if not path.stat().st_size:
        return done
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        found = list(fatbins(data))  # read whole before a byte is changed

        def zero(offset: int, size: int) -> None:
            data[offset : offset + size] = bytes(size)
            done.bytes_zeroed += size

        for section in sections(data):
            if not section.loaded and section.name.startswith(UNLOADED):
                zero(section.offset, section.size)
        for entries in found:
            keep = usable(entries, sm)
            done.fatbins += 1
            done.unusable += not keep
            done.kept += len(keep)
            for entry in entries:
                if entry not in keep:
                    zero(entry.offset, entry.size)
                    done.zeroed += 1
    return done


def main() -> None:
    """The command line: a line for each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--capability", required=True, help="of the card, e.g. 9.0")
    parser.add_argument("files", type=Path, nargs="+")
    options = parser.parse_args()
    try:
        sm = int(options.capability.replace(".", ""))
        for path in options.files:
            print(f"{path.name}: {trim(path, sm).line()}")
    except (CookbookError, OSError, ValueError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
