"""papers.py - what the papers name must exist: paths in code spans and links, and make targets; and every room
of the daemon is named in README.md.

A path is checked when it begins with a room of the tree or is a link; `path::test_name` and a `::test_name`
behind it on the same line are looked for in that file.  `NAME` in capitals, `*` and
`<...>` stand for something and are not looked up.
"""
import os
import re
import sys

import tree

ROOMS = tree.ROOMS + (".ci",)
SPAN = re.compile(r"`([^`\n]+)`")
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MAKE = re.compile(r"\bmake ((?:[A-Z_]+=\S+ )*)([a-z][a-z-]*)(?![a-z/_-])")


def targets():
    return set(re.findall(r"^([a-z][a-z-]*):", tree.read("Makefile"), re.M))


def is_path(word):
    return word.split("/")[0] in ROOMS and "/" in word and not re.search(r"[*<>{}$]|NAME|/X", word)


def exists(word, last):
    """(does it, the file that a later ::name means)"""
    path, _, name = word.partition("::")
    path = path or last
    if not os.path.exists(path):
        return False, path
    return not name or f"def {name.split('[')[0]}(" in tree.read(path), path


def check(path, known, found):
    here = os.path.dirname(path)
    for number, line in enumerate(tree.read(path).splitlines(), 1):
        last = ""
        for span in SPAN.findall(line):
            for word in span.split():
                word = word.rstrip(",;:.")
                if not is_path(word) and not word.startswith("::test_"):
                    continue
                there, last = exists(word, last)
                if not there:
                    found.append(f"{path}:{number}: {word} does not exist")
            for match in MAKE.finditer(span):
                if match[2] not in known:
                    found.append(f"{path}:{number}: make {match[2]}: no such target")
        for link in LINK.findall(line):
            if "://" not in link and not os.path.exists(os.path.join(here, link)):
                found.append(f"{path}:{number}: link to {link}, which does not exist")


def rooms():
    """Directories with sources of the daemon."""
    return sorted({os.path.dirname(path) for path in tree.files(".c") if not path.startswith("tests/")})


def main():
    tour = tree.read("README.md")
    found = [f"README.md: the code tour does not name {room}" for room in rooms() if f"`{room}/" not in tour]
    known = targets()
    for path in tree.files(".md"):
        check(path, known, found)
    for line in found:
        print(line)
    return 1 if found else 0


sys.exit(main())
