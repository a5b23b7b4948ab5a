"""A system-call filter for the bubblewrap sandbox, assembled here: no library, two architectures.

Namespaces and limits do the containing; the filter takes away calls that a program has no honest use
for and that would reach kernel memory outside the limits (memfd, SysV shared memory) or widen the
kernel's attack surface (mounts, namespaces, ptrace, bpf, io_uring, keyrings).
"""

import platform
import struct

# Numbers from the kernel's syscall tables: arch/x86/entry/syscalls/syscall_64.tbl and the generic table
# (include/uapi/asm-generic/unistd.h), which arm64 uses.
_DENIED = {
    "x86_64": {
        "ptrace": 101,
        "shmget": 29,
        "shmat": 30,
        "shmctl": 31,
        "msgget": 68,
        "semget": 64,
        "unshare": 272,
        "setns": 308,
        "mount": 165,
        "umount2": 166,
        "pivot_root": 155,
        "chroot": 161,
        "swapon": 167,
        "swapoff": 168,
        "reboot": 169,
        "init_module": 175,
        "finit_module": 313,
        "delete_module": 176,
        "kexec_load": 246,
        "kexec_file_load": 320,
        "bpf": 321,
        "perf_event_open": 298,
        "userfaultfd": 323,
        "memfd_create": 319,
        "memfd_secret": 447,
        "keyctl": 250,
        "add_key": 248,
        "request_key": 249,
        "process_vm_readv": 310,
        "process_vm_writev": 311,
        "process_madvise": 440,
        "pidfd_getfd": 438,
        "open_by_handle_at": 304,
        "name_to_handle_at": 303,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "open_tree": 428,
        "move_mount": 429,
        "fsopen": 430,
        "fsconfig": 431,
        "fsmount": 432,
        "fspick": 433,
        "mount_setattr": 442,
        "acct": 163,
        "quotactl": 179,
        "syslog": 103,
        "settimeofday": 164,
        "clock_settime": 227,
        "adjtimex": 159,
        "iopl": 172,
        "ioperm": 173,
        "personality": 135,
        "mq_open": 240,
        "vmsplice": 278,
        "fanotify_init": 300,
        "kcmp": 312,
        "lookup_dcookie": 212,
        "nfsservctl": 180,
        "modify_ldt": 154,
        "uselib": 134,
        "ustat": 136,
        "sysfs": 139,
        "mbind": 237,
        "migrate_pages": 256,
        "move_pages": 279,
        "set_mempolicy": 238,
    },
    "aarch64": {
        "ptrace": 117,
        "shmget": 194,
        "shmat": 196,
        "shmctl": 195,
        "msgget": 186,
        "semget": 190,
        "unshare": 97,
        "setns": 268,
        "mount": 40,
        "umount2": 39,
        "pivot_root": 41,
        "chroot": 51,
        "swapon": 224,
        "swapoff": 225,
        "reboot": 142,
        "init_module": 105,
        "finit_module": 273,
        "delete_module": 106,
        "kexec_load": 104,
        "kexec_file_load": 294,
        "bpf": 280,
        "perf_event_open": 241,
        "userfaultfd": 282,
        "memfd_create": 279,
        "memfd_secret": 447,
        "keyctl": 219,
        "add_key": 217,
        "request_key": 218,
        "process_vm_readv": 270,
        "process_vm_writev": 271,
        "process_madvise": 440,
        "pidfd_getfd": 438,
        "open_by_handle_at": 265,
        "name_to_handle_at": 264,
        "io_uring_setup": 425,
        "io_uring_enter": 426,
        "io_uring_register": 427,
        "open_tree": 428,
        "move_mount": 429,
        "fsopen": 430,
        "fsconfig": 431,
        "fsmount": 432,
        "fspick": 433,
        "mount_setattr": 442,
        "acct": 89,
        "quotactl": 60,
        "syslog": 116,
        "settimeofday": 170,
        "clock_settime": 112,
        "adjtimex": 171,
        "personality": 92,
        "mq_open": 180,
        "vmsplice": 75,
        "fanotify_init": 262,
        "kcmp": 272,
        "lookup_dcookie": 18,
        "nfsservctl": 42,
        "mbind": 235,
        "migrate_pages": 238,
        "move_pages": 239,
        "set_mempolicy": 237,
    },
}
_AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_SOCKET = {"x86_64": 41, "aarch64": 198}
_IOCTL = {"x86_64": 16, "aarch64": 29}
_CLONE3 = 435
_X32_BIT = 0x40000000
# CLONE_NEWNS | NEWCGROUP | NEWUTS | NEWIPC | NEWUSER | NEWPID | NEWNET; bit 7 (NEWTIME) overlaps the signal.
_NEW_NAMESPACES = 0x00020000 | 0x02000000 | 0x04000000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
_TIOCSTI, _TIOCLINUX = 0x5412, 0x541C
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6: ordinary programs' families, in an empty network namespace

# linux/bpf_common.h, linux/seccomp.h
_LOAD, _JEQ, _JSET, _JGE, _RET = 0x20, 0x15, 0x45, 0x35, 0x06
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NR, _ARCH, _ARG0, _ARG1 = 0, 4, 16, 24  # offsets into struct seccomp_data (little endian: low word first)


def _op(code: int, k: int, yes: int = 0, no: int = 0) -> bytes:
    return struct.pack("<HBBI", code, yes, no, k)


def program(machine: str | None = None) -> bytes | None:
    """The filter's bytes for `bwrap --seccomp`, or None for an architecture without a table here."""
    machine = machine or platform.machine()
    machine = {"arm64": "aarch64", "amd64": "x86_64"}.get(machine, machine)
    if machine not in _DENIED:
        return None
    deny, missing = _op(_RET, _ERRNO | _EPERM), _op(_RET, _ERRNO | _ENOSYS)
    code = [_op(_LOAD, _ARCH), _op(_JEQ, _AUDIT_ARCH[machine], 1, 0), _op(_RET, _KILL), _op(_LOAD, _NR)]
    if machine == "x86_64":  # the x32 table would offer every denied call under another number
        code += [_op(_JGE, _X32_BIT, 0, 1), deny]
    for number in sorted(set(_DENIED[machine].values())):
        code += [_op(_JEQ, number, 0, 1), deny]
    # clone3's flags lie behind a pointer: ENOSYS makes libc fall back to clone, whose flags are checked.
    code += [_op(_JEQ, _CLONE3, 0, 1), missing]
    code += [_op(_JEQ, _CLONE[machine], 0, 4), _op(_LOAD, _ARG0), _op(_JSET, _NEW_NAMESPACES, 0, 1), deny]
    code += [_op(_RET, _ALLOW)]
    code += [_op(_JEQ, _SOCKET[machine], 0, len(_FAMILIES) + 3), _op(_LOAD, _ARG0)]
    for position, family in enumerate(_FAMILIES):
        code += [_op(_JEQ, family, len(_FAMILIES) - position, 0)]
    code += [deny, _op(_RET, _ALLOW)]
    code += [_op(_JEQ, _IOCTL[machine], 0, 4), _op(_LOAD, _ARG1), _op(_JEQ, _TIOCSTI, 1, 0)]
    code += [_op(_JEQ, _TIOCLINUX, 0, 1), deny]
    code += [_op(_RET, _ALLOW)]
    return b"".join(code)
