"""Make the workbench `.venv` from its lock, with nothing but a Python: `python3 helpers/machine/bootstrap.py`.

Runs before anything is installed, so it uses the standard library only and keeps to syntax that an old
Python can read, in order to say that it is too old.
"""

import hashlib
import os
import re
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VENV = os.path.join(ROOT, ".venv")
LOCK = os.path.join(ROOT, "recipes", "locks", "workbench.txt")
NEEDED = (3, 11)  # vLLM 0.32 asks for it (its package metadata)
FREE_GIB = 1.5  # the workbench takes 0.9 GB installed, plus the download while it is unpacked


def fail(what, why, do):
    """Print one line (what, why, what to do) and exit with 1."""
    sys.stderr.write("cookbook: %s because %s; %s\n" % (what, why, do))
    sys.exit(1)


def fingerprint():
    """The sha256 of everything that decides what the workbench holds."""
    digest = hashlib.sha256(("%d.%d" % sys.version_info[:2]).encode())
    for path in (LOCK, os.path.join(ROOT, "pyproject.toml")):
        with open(path, "rb") as file:
            digest.update(file.read())
    return digest.hexdigest()


def run(argv, what, env=None):
    """Run one installation step, and turn its failure into one line."""
    done = subprocess.run(argv, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        text = done.stdout.decode(errors="replace").strip()
        sys.stderr.write(text[-4000:] + "\n")
        fail(
            what + " failed",
            "of the message above",
            "mend it and run the same command again: it goes on where it stopped",
        )


def uv_pin():
    """What the lock says of uv: its version and the hashes of its files, in a file for pip."""
    with open(LOCK) as file, open(os.path.join(VENV, "uv.txt"), "w") as pin:
        pin.write(re.search(r"^uv==.*(?:\n +--hash=.*)*", file.read(), re.M).group())
    return pin.name


def main():
    """Create or refresh `.venv`; a second call with the same lock returns at once."""
    if sys.version_info < NEEDED:
        fail(
            "this Python is %d.%d" % sys.version_info[:2],
            "vLLM needs 3.11 or newer",
            "pass PYTHON=/path/to/python3.11 to make",
        )
    stamp = os.path.join(VENV, ".ready")
    wanted = fingerprint()
    if os.path.exists(stamp):
        with open(stamp) as file:
            if file.read().strip() == wanted:
                return
    import fcntl
    import shutil

    free = shutil.disk_usage(ROOT).free / 2**30
    if free < FREE_GIB:
        fail("the workbench does not fit", "%.1f GiB are free and it needs %.1f" % (free, FREE_GIB), "free some disk")
    with open(os.path.join(ROOT, ".setup.lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two makes at once: the second waits, then finds it done
        began = time.time()
        print("workbench: installing into .venv ...", flush=True)
        python = os.path.join(VENV, "bin", "python")
        if os.path.exists(stamp):
            os.unlink(stamp)
        if not os.path.exists(python) or subprocess.call([python, "-c", "import pip"], stderr=subprocess.DEVNULL):
            run(
                [sys.executable, "-m", "venv", "--clear", VENV],
                "creating .venv (Debian and Ubuntu: apt install python3-venv)",
            )
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--require-hashes"]
        run(pip + ["-r", uv_pin()], "installing uv")
        sys.path.insert(0, ROOT)
        from helpers.machine.index import uv_environment

        uv = [os.path.join(VENV, "bin", "uv"), "pip"]
        env = uv_environment(dict(os.environ, VIRTUAL_ENV=VENV), python)
        run(uv + ["install", "--quiet", "--require-hashes", "-r", LOCK], "installing recipes/locks/workbench.txt", env)
        run(uv + ["install", "--quiet", "--no-deps", "--editable", ROOT], "installing the helpers package", env)
        with open(stamp + ".new", "w") as file:
            file.write(wanted)
        os.replace(stamp + ".new", stamp)
        print("workbench: ready in %.0f s" % (time.time() - began), flush=True)


if __name__ == "__main__":
    main()
