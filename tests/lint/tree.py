"""tree.py - the project's own files: what git knows, and what is new and not ignored.

Outside a git work tree (a release archive) every file below the rooms is taken.
"""
import os
import subprocess

ROOMS = ("common", "conf", "packaging", "supervisor", "tests", "workers")


def files(*endings):
    """Relative paths with one of these endings (all files if none is given), sorted."""
    try:
        out = subprocess.run(
            ["git", "ls-files", "-co", "--exclude-standard"],
            check=True, capture_output=True, text=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        out = [os.path.join(where, name) for room in ROOMS
               for where, _, names in os.walk(room) for name in names]
        out += [name for name in os.listdir(".") if os.path.isfile(name)]
    return sorted(path for path in set(out)
                  if os.path.isfile(path) and (not endings or path.endswith(endings)))


def read(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()
