"""A build in which some workers are impostors (impostor.c): they do what the test says and nothing else, so that
each transition of the supervisor's table can be caused, with real processes."""
import os
import shutil
import socket
import subprocess

from . import daemon
from .waiting import SANITIZED, wait_until
from .wire import ROOT

HERE = os.path.dirname(os.path.abspath(__file__))


class Impostors:
    """workers: {name: lines that it is born with}.  build: the copy to start from."""

    def __init__(self, directory, **workers):
        self.build = os.path.join(directory, "b")
        for part in ("bin", "libexec/spendd"):
            shutil.copytree(os.path.join(daemon.BUILD, part), os.path.join(self.build, part))
        program = os.path.join(directory, "impostor")
        version = subprocess.run([os.path.join(self.build, "bin/spendd"), "--version"], capture_output=True, text=True,
                                 check=True).stdout
        ours = version.split("(")[1].split(")")[0]
        subprocess.run(["gcc", "-O1", "-D_GNU_SOURCE", f"-I{ROOT}", f'-DBUILD_ID="{ours}"',
                        *(["-fsanitize=address,undefined"] if SANITIZED else []), "-o", program,
                        os.path.join(HERE, "impostor.c"), os.path.join(daemon.BUILD, "libspendd.a")], check=True)
        for name, lines in workers.items():
            os.unlink(self.path(name))
            shutil.copy(program, self.path(name))
            self.born(name, *lines)

    def path(self, name):
        return os.path.join(self.build, "libexec/spendd", name)

    def born(self, name, *lines):
        """What its next life begins with."""
        with open(self.path(name) + ".born", "w", encoding="ascii") as file:
            file.write("".join(line + "\n" for line in lines))

    def is_born_ready(self, name):
        with open(self.path(name) + ".born", encoding="ascii") as file:
            return file.readline() == "ready\n"

    def tell(self, name, order):
        """Waits until there is one that can be told."""
        told = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

        def heard():
            try:
                told.sendto(order.encode(), self.path(name) + ".sock")
                return True
            except OSError:
                return False

        try:
            wait_until(heard, 10, f"{name} to listen")
        finally:
            told.close()
