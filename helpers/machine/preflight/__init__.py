"""Looks at the machine before anything is installed or started.

from helpers.machine import preflight
preflight.detect()                        # what this machine is
preflight.check(target, parameters)       # ✓ or ✗ with what was seen, what is needed, and the fix
"""

from helpers.machine.preflight.machine import Gpu, Machine
from helpers.machine.preflight.probe import detect
from helpers.machine.preflight.report import Report, check

__all__ = ["Gpu", "Machine", "Report", "check", "detect"]
