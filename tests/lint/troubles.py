"""troubles.py - every event that the daemon can log at warn or error has its row in docs/troubleshooting.md, and
every row an event.

Events are found in the sources: the words in that argument of CALLS that is the event, both words of a choice
(`a ? "x" : "y"`).  An event that is handed in as a parameter is found where it is handed in: those functions are
CALLS too.  --list prints them with their places.
"""
import re
import sys

import tree

PAPER = "docs/troubleshooting.md"
# What is called -> which of its arguments is the event.
CALLS = {r"\blog_(?:warn|error)\(": 0, r"\([^()]*\blog_(?:warn|error)\b[^()]*\)\(": 0, r"\brefusal_tell\(": 1,
         r"\bturn_note_refusal\(": 1}
TABLES = {"common/bus/bus_guard.c": r'\[NEWS_(?!READ)\w+\] = "(\w+)"'}  # events in a table of their own
PARAMETERS = ("event", "const char *event")  # handed on, or declared
WORD = re.compile(r'"([a-z][a-z0-9_]*)"')


def argument(text, start, number):
    """The number-th argument of a call, from behind its parenthesis."""
    depth, quoted, begin = 0, False, start
    for at in range(start, len(text)):
        letter = text[at]
        if letter == '"' and text[at - 1] != "\\":
            quoted = not quoted
        elif quoted:
            continue
        elif letter == "(":
            depth += 1
        elif letter == "," and depth == 0 or letter == ")" and depth == 0:
            if number == 0:
                return " ".join(text[begin:at].split())
            number, begin = number - 1, at + 1
            if letter == ")":
                break
        elif letter == ")":
            depth -= 1
    return ""


def events():
    """{event: {path:line, ...}}, and calls whose event cannot be read."""
    found, unread = {}, []
    for path in tree.files(".c"):
        if not path.startswith(("common/", "supervisor/", "workers/")):
            continue
        text = tree.read(path)
        for match in re.finditer(TABLES.get(path, "$^"), text):
            found.setdefault(match[1], []).append(path)
        for pattern, number in CALLS.items():
            for match in re.finditer(pattern, text):
                event = argument(text, match.end(), number)
                if event in PARAMETERS:
                    continue
                place = f"{path}:{text.count(chr(10), 0, match.start()) + 1}"
                if not WORD.findall(event):
                    unread.append(f"{place}: what is the event of this call?")
                for word in WORD.findall(event):
                    found.setdefault(word, []).append(place)
    return found, unread


def rows(text):
    """Events of the first column, and those that stand twice."""
    words = [word for line in text.splitlines() if line.startswith("| `")
             for word in re.findall(r"`([a-z][a-z0-9_]*)`", line.split("|")[1])]
    return set(words), sorted({word for word in words if words.count(word) > 1})


def main():
    found, unread = events()
    if "--list" in sys.argv:
        for event in sorted(found):
            print(event, *found[event])
        print(*unread, sep="\n")
        return 0
    there, twice = rows(tree.read(PAPER))
    wrong = unread + [f"{PAPER}: no row for {event} ({found[event][0]})" for event in sorted(found.keys() - there)]
    wrong += [f"{PAPER}: a row for {event}, which nobody logs" for event in sorted(there - found.keys())]
    wrong += [f"{PAPER}: two rows for {event}" for event in twice]
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
