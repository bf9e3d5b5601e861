"""sizes.py - budgets that keep a file readable.  Over the hard one fails; over the soft one is said.

                 soft  hard
  file            300   500   lines of a .c (tests too)
  function         40    60   lines from its first to its closing brace
  header           80   120   lines of a .h, where its contract is the file (a .def has no budget)
  line            100   120   columns of a .c or .h; rows of a .def and "links:" lines may be longer

GRANTED are files that are over the hard budget today, with what they have: they may shrink, not grow.
"""
import re
import sys

import tree

FILE = (300, 500)
FUNCTION = (40, 60)
HEADER = (80, 120)
COLUMNS = (100, 120)
GRANTED = {
}


def judge(what, lines, budget, soft, hard):
    if lines > budget[1]:
        hard.append(f"{what}: {lines} lines, at most {budget[1]}")
    elif lines > budget[0]:
        soft.append(f"{what}: {lines} lines, better {budget[0]}")


def check_functions(path, lines, soft, hard):
    """House style: a function's braces stand alone in column one."""
    start = None
    for number, line in enumerate(lines, 1):
        if line == "{":
            start = number
        elif line == "}" and start is not None:
            name = next((m[1] for back in range(start - 2, max(-1, start - 8), -1)
                         if (m := re.search(r"(\w+)\(", lines[back])) and not
                         lines[back].startswith((" ", "\t"))), "?")
            judge(f"{path}:{start}: {name}()", number - start - 1, FUNCTION, soft, hard)
            start = None


def main():
    soft, hard, wide = [], [], 0
    for path in tree.files(".c", ".h"):
        lines = tree.read(path).splitlines()
        budget = FILE if path.endswith(".c") else HEADER
        judge(path, len(lines), (budget[0], GRANTED.get(path, budget[1])), soft, hard)
        check_functions(path, lines, soft, hard)
        for number, line in enumerate(lines, 1):
            columns = len(line.expandtabs(8))
            if columns > COLUMNS[1] and not line.startswith(" * links:"):
                hard.append(f"{path}:{number}: {columns} columns, at most {COLUMNS[1]}")
            wide += columns > COLUMNS[0]
    if wide:
        soft.append(f"{wide} lines are wider than {COLUMNS[0]} columns")
    if soft:
        print(f"sizes: {len(soft)} over a soft budget (no failure):")
        for line in soft:
            print("  " + line)
    for line in hard:
        print(line)
    return 1 if hard else 0


sys.exit(main())
