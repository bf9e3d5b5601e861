"""Command lines against kept texts: what a person or a script sees must not change by accident.

Each case is a command, run without a daemon; its exit code, standard output and standard error are kept in
tests/golden/texts/NAME.txt.  `make golden-update` writes them anew; review the diff.
"""
import os
import subprocess

import pytest

from lib.daemon import BUILD

TEXTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "texts")

CASES = {
    "spendctl-help": ["spendctl", "--help"],
    "spendctl-no-words": ["spendctl"],
    "spendctl-unknown-word": ["spendctl", "flsuh"],
    "spendctl-hostile-word": ["spendctl", "\x1b[2Jx\u009b"],
    "spendctl-too-many-words": ["spendctl", "status", "now"],
    "spendctl-unknown-option": ["spendctl", "--nope"],
    "spendctl-bad-timeout": ["spendctl", "--timeout", "soon", "status"],
    "spendctl-no-daemon": ["spendctl", "--runtime-dir", "/nonexistent/spendd", "status"],
    "spendctl-no-daemon-from-environment": ["spendctl", "--json", "status"],
    "spendctl-long-path": ["spendctl", "--socket", "ipc:///" + 120 * "x", "status"],
}


def seen(argv):
    done = subprocess.run(
        [os.path.join(BUILD, "bin", argv[0]), *argv[1:]], capture_output=True, text=True, timeout=20,
        env={"LC_ALL": "C.UTF-8", "SPENDD_RUNTIME_DIR": "/nonexistent/environment"})
    text = f"exit {done.returncode}\n--- stdout\n{done.stdout}--- stderr\n{done.stderr}"
    return text.replace(os.path.join(BUILD, "bin") + "/", "")


@pytest.mark.parametrize("name", CASES)
def test_text(name):
    path = os.path.join(TEXTS, name + ".txt")
    text = seen(CASES[name])
    if os.environ.get("GOLDEN_UPDATE"):
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    with open(path, encoding="utf-8") as file:
        assert text == file.read()


def test_no_stranger_among_the_texts():
    assert sorted(os.listdir(TEXTS)) == sorted(name + ".txt" for name in CASES)
