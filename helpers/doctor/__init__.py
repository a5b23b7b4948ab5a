"""The doctor: from a server's log to the first cause, the reason, and the exact change.

from helpers import doctor
doctor.first_exception("runs/x/server.log")    # 'ValueError: To serve at least one request ...'
doctor.diagnose("runs/x/server.log")           # the cause, the fix as a diff, the source
"""

from helpers.doctor.diagnosis import Cause, Diagnosis
from helpers.doctor.explain import diagnose, first_exception, why_and_fix, with_log

__all__ = ["Cause", "Diagnosis", "diagnose", "first_exception", "why_and_fix", "with_log"]
