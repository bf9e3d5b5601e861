"""Looking at processes through /proc, and ending exactly those that are ours."""
import os
import signal

from .waiting import wait_until


def stat_of(pid):
    """(name, state, parent, session) or None when it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
            text = file.read()
    except OSError:
        return None
    name = text[text.index("(") + 1 : text.rindex(")")]
    rest = text[text.rindex(")") + 2 :].split()
    return name, rest[0], int(rest[1]), int(rest[3])


def alive(pid):
    """False for a pid that is gone or only waits to be reaped."""
    stat = stat_of(pid)
    return stat is not None and stat[1] != "Z"


def all_pids():
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def children(pid):
    found = []
    for other in all_pids():
        stat = stat_of(other)
        if stat and stat[2] == pid and stat[1] != "Z":
            found.append(other)
    return found


def executable(pid):
    """Path of the program, without the mark of a replaced file; '' when it cannot be known."""
    try:
        return os.readlink(f"/proc/{pid}/exe").replace(" (deleted)", "")
    except OSError:
        return ""


def program(pid):
    """Name of the program.  A worker hides its executable from all but root, and names itself instead."""
    stat = stat_of(pid)
    return os.path.basename(executable(pid)) or (stat[0].split(".")[0] if stat else "")


def descriptor(pid, number):
    try:
        return os.readlink(f"/proc/{pid}/fd/{number}")
    except OSError:
        return ""


def descriptors(pid):
    """How many it has open."""
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


def send(pid, number):
    """Signals a process; True when it was there."""
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


def stopped(pid):
    """Has every thread of it stopped, or is it gone?  One thread takes the signal, and the others go on until it has:
    on a busy machine long enough to accept a connection, or to answer."""
    try:
        states = [_state(f"/proc/{pid}/task/{thread}/stat") for thread in os.listdir(f"/proc/{pid}/task")]
    except OSError:
        return True
    return all(state in "TtZX" for state in states)


def _state(path):
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[0]
    except OSError:
        return "X"


def freeze(pid):
    """SIGSTOP; back when nothing of it runs any more."""
    if send(pid, signal.SIGSTOP):
        wait_until(lambda: stopped(pid), 20, f"process {pid} to be stopped", look_s=0.001)


def freeze_tree(pid):
    """SIGSTOP for a process and its children, until a look finds no new child."""
    freeze(pid)
    frozen = set()
    while True:
        fresh = [child for child in children(pid) if child not in frozen]
        if not fresh:
            return sorted(frozen)
        for child in fresh:
            freeze(child)
            frozen.add(child)


def thaw_tree(pid):
    for child in children(pid):
        send(child, signal.SIGCONT)
    send(pid, signal.SIGCONT)


def memory_kb(pid, field="VmRSS"):
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            for line in file:
                if line.startswith(field + ":"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0
