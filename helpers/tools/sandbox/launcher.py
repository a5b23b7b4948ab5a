"""Becomes the given program after binding it to its parent's life and to kernel limits. Stdlib only, Linux.

Usage: python -I -S -c TEXT PARENT_PID LIMITS_JSON PROGRAM ARGUMENTS...
"""

import ctypes
import json
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS = 1, 38  # linux/prctl.h

if sys.platform.startswith("linux"):
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    if os.getppid() != int(sys.argv[1]):
        os._exit(1)  # the parent was gone before the bond
for name, amount in json.loads(sys.argv[2]).items():
    resource.setrlimit(getattr(resource, name), (amount, amount))
os.execve(sys.argv[3], sys.argv[3:], dict(os.environ))
