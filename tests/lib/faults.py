"""An instance whose disk is slow, full or failing: its aggregator runs over a preloaded library.

Workers get an empty environment, so the preload cannot come from ours.  A copy of the build has, in the
place of the aggregator, a small program that sets LD_PRELOAD and executes the real one.
"""
import os
import shutil
import subprocess

from . import daemon

HERE = os.path.dirname(os.path.abspath(__file__))
WRAPPER = r"""
#include <stdlib.h>
#include <unistd.h>
int main(int argc, char **argv)
{
    (void)argc;
    setenv("LD_PRELOAD", PRELOAD, 1);
    setenv("SPENDD_FAULTS", FAULTS, 1);
    execv(REAL, argv);
    return 75;
}
"""


class Faults:
    """build: the copy to start from.  set and clear the faults of faults.c by name, at any moment."""

    def __init__(self, directory, build=None):
        source = build or daemon.BUILD
        self.build, self.control = os.path.join(directory, "build"), os.path.join(directory, "told")
        os.mkdir(self.control)
        for part in ("bin", "libexec/spendd"):
            shutil.copytree(os.path.join(source, part), os.path.join(self.build, part))
        target = os.path.join(self.build, "libexec/spendd/aggregator")
        real = os.path.join(directory, "aggregator")
        os.rename(target, real)
        preload = os.path.join(directory, "faults.so")
        subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-o", preload, os.path.join(HERE, "faults.c"), "-ldl"], check=True)
        program = os.path.join(directory, "wrapper.c")
        with open(program, "w", encoding="utf-8") as file:
            file.write(WRAPPER)
        preloads = self._sanitizer(real) + preload
        subprocess.run(["gcc", "-O1", f'-DPRELOAD="{preloads}"', f'-DFAULTS="{self.control}"', f'-DREAL="{real}"',
                        "-o", target, program], check=True)

    @staticmethod
    def _sanitizer(program):
        """AddressSanitizer insists on being first."""
        linked = subprocess.run(["ldd", program], capture_output=True, text=True, check=False).stdout
        for line in linked.splitlines():
            if "libasan" in line:
                return line.split("=>")[1].split()[0] + ":"
        return ""

    def set(self, name, number=None):
        path = os.path.join(self.control, name)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write("" if number is None else str(number))
        os.rename(path + ".new", path)

    def clear(self, name):
        try:
            os.unlink(os.path.join(self.control, name))
        except FileNotFoundError:
            pass

    def taken(self, name):
        """True when a fault that happens once has happened."""
        return not os.path.exists(os.path.join(self.control, name))

    def lose_power(self):
        """Every rename since the journal was set that no directory's sync has followed is undone, the youngest
        first.  Nobody of the instance may live."""
        with open(os.path.join(self.control, "journal"), encoding="utf-8") as file:
            lines = file.read().splitlines()
        for line in reversed(lines):
            before, after = line.split("\t")
            if os.path.exists(after):
                os.rename(after, before)
        self.clear("journal")
        return len(lines)
