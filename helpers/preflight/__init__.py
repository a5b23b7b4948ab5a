"""Looks at the machine before anything is installed or started.

from helpers import preflight
preflight.detect()                        # what this machine is
preflight.check(target, parameters)       # ✓ or ✗ with what was seen, what is needed, and the fix
"""

from helpers.preflight.machine import Gpu, Machine
from helpers.preflight.probe import detect
from helpers.preflight.report import Check, Report, check

__all__ = ["Check", "Gpu", "Machine", "Report", "check", "detect"]
