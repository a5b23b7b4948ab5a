"""A system-call filter for the bubblewrap sandbox, assembled here: no library, two architectures.

Namespaces and limits do the containing; the filter takes away calls that a program has no honest use
for and that would reach kernel memory outside the limits (memfd, SysV shared memory) or widen the
kernel's attack surface (mounts, namespaces, ptrace, bpf, io_uring, keyrings).
"""

import platform
import struct

# Calls that are denied, `x86_64/arm64:name`, "-" where an architecture has none. Numbers from the kernel's syscall tables:
# arch/x86/entry/syscalls/syscall_64.tbl and the generic table (include/uapi/asm-generic/unistd.h), which arm64 uses.
_CALLS = """
101/117:ptrace 310/270:process_vm_readv 311/271:process_vm_writev 440/440:process_madvise 438/438:pidfd_getfd
312/272:kcmp 304/265:open_by_handle_at 303/264:name_to_handle_at
29/194:shmget 30/196:shmat 31/195:shmctl 68/186:msgget 64/190:semget 240/180:mq_open 319/279:memfd_create
447/447:memfd_secret 323/282:userfaultfd 278/75:vmsplice 237/235:mbind 256/238:migrate_pages 279/239:move_pages
238/237:set_mempolicy
272/97:unshare 308/268:setns 165/40:mount 166/39:umount2 155/41:pivot_root 161/51:chroot 428/428:open_tree
429/429:move_mount 430/430:fsopen 431/431:fsconfig 432/432:fsmount 433/433:fspick 442/442:mount_setattr
321/280:bpf 298/241:perf_event_open 425/425:io_uring_setup 426/426:io_uring_enter 427/427:io_uring_register
250/219:keyctl 248/217:add_key 249/218:request_key 300/262:fanotify_init 135/92:personality 154/-:modify_ldt
212/18:lookup_dcookie 134/-:uselib 136/-:ustat 139/-:sysfs 180/42:nfsservctl
167/224:swapon 168/225:swapoff 169/142:reboot 175/105:init_module 313/273:finit_module 176/106:delete_module
246/104:kexec_load 320/294:kexec_file_load 163/89:acct 179/60:quotactl 103/116:syslog 164/170:settimeofday
227/112:clock_settime 159/171:adjtimex 172/-:iopl 173/-:ioperm
"""
_DENIED: dict[str, set[int]] = {"x86_64": set(), "aarch64": set()}
for _call in _CALLS.split():
    for _machine, _number in zip(_DENIED, _call.partition(":")[0].split("/"), strict=True):
        _DENIED[_machine] |= set() if _number == "-" else {int(_number)}
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
    for number in sorted(_DENIED[machine]):
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
