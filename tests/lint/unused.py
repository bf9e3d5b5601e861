"""unused.py - what nobody uses any more: functions of headers, settings, metrics, and names of Python files.

  functions  one that a header declares is called outside its own file (by a test at least): else it is static, or gone
  settings   the workers that a row of settings.def names are those whose room reads it (rooms of common read for
             all; a row of watch.def reads its threshold)
  metrics    a figure is written by somebody: named in a source, or in another table (refusals.def, litellm.def, ...)
  python     an import, a function or a constant of the tests that stands nowhere else

By words, not by meaning: what has the name of something that is used counts as used.
"""
import collections
import re
import sys

import tree

COMMENT = re.compile(r"/\*.*?\*/", re.S)
WORD = re.compile(r"\w+")
DECLARED = re.compile(r"^(?!static|typedef|#|struct \w+ \{)[\w *]*?\b(\w+)\([^;{]*\)[^;{]*;", re.M)
OURS = ("common/", "supervisor/", "workers/")
# Called by a macro of its own header, or by a name that is put together.
CALLED_OTHERWISE = {"bug_at"}
TABLES = {"common/stats/metrics.def", "common/stats/histograms.def"}
# Names that pytest, http.server, LiteLLM or a driver's table look up by themselves.
PYTHON_ALIVE = re.compile(r"test_|pytest_|do_|__|log_message|handle_error|log_failure_event|failure_handler")


def sources():
    """{path: text without comments}"""
    return {path: COMMENT.sub("", tree.read(path)) for path in tree.files(".c", ".h", ".def")}


def functions(text, words):
    for header in (path for path in text if path.endswith(".h") and path.startswith(OURS)):
        for name in DECLARED.findall(text[header]):
            defined = re.compile(rf"^\w.*\b{name}\([^;{{]*\)\n\{{", re.M)
            users = [path for path in text if words[path][name] and not path.endswith(".h") and
                     not (path.startswith(OURS) and defined.search(text[path]))]
            if not users and name not in CALLED_OTHERWISE:
                yield f"{header}: {name}() is called nowhere outside its own file"


def settings(text, words):
    watched = {f"watch_{name}" for name in re.findall(r"^\w+ *\((\w+)", text["workers/health_checker/watch.def"], re.M)}
    for line in text["common/config/settings.def"].splitlines():
        row = re.match(r"[A-Z]+ *\((\w+), \"([\w.]+)\"", line)
        if not row:
            continue
        named = set(re.findall(r"FOR_(\w+)", line)) - {"SUPERVISOR"}
        if read_by_common(text, words, row[1]) or "ALL" in named:
            continue
        rooms = {path.split("/")[1] for path in text if words[path][row[1]] and path.startswith("workers/")}
        if row[1] in watched:
            rooms.add("health_checker")
        for room in sorted(named - rooms):
            yield f"common/config/settings.def: {row[2]} is given to {room}, which does not read it"
        for room in sorted(rooms - named):
            yield f"common/config/settings.def: {row[2]} is read by {room}, which is not given it"


def read_by_common(text, words, name):
    """Do the rooms of common read it, for whoever calls them?  common/config itself reads for nobody."""
    return any(words[path][name] for path in text if path.startswith("common/") and not path.startswith("common/config/"))


def metrics(text, words):
    for table, prefix in (("common/stats/metrics.def", "METRIC_"), ("common/stats/histograms.def", "HISTOGRAM_")):
        for name in re.findall(r"^(?:METRIC|LANE|PART|HISTOGRAM)\((\w+)", text[table], re.M):
            parts = (name, prefix + name, *(name[:-len(end)] for end in ("_total",) if name.endswith(end)))
            if not any(words[path][part] for path in text if path not in TABLES and path.startswith(OURS)
                       for part in parts) and not made_of(text, name):
                yield f"{table}: nobody writes {name}"


def made_of(text, name):
    """METRIC_litellm_missed_##row and the like: a prefix in a source, the rest a row of a table."""
    for path, words in text.items():
        for start in re.findall(r"METRIC_(\w+?)##", words):
            if name.startswith(start) and path.startswith(OURS):
                return True
    return False


def python():
    text = {path: tree.read(path) for path in tree.files(".py")}
    words = collections.Counter(word for source in text.values() for word in WORD.findall(source))
    for path, source in text.items():
        own = collections.Counter(WORD.findall(source))
        for line in re.findall(r"^(?:import|from [\w.]+ import) (.+?)(?: +#.*)?$", source, re.M):
            for name in (part.split(" as ")[-1].strip(" ()") for part in line.split(",")):
                if name and own[name.split(".")[0]] < 2:
                    yield f"{path}: imports {name} and does not use it"
        for name in re.findall(r"^ *def (\w+)", source, re.M) + re.findall(r"^([A-Z_]{3,}) *=", source, re.M):
            if words[name] < 2 and not PYTHON_ALIVE.match(name):
                yield f"{path}: nobody uses {name}"


def main():
    text = sources()
    words = {path: collections.Counter(WORD.findall(source)) for path, source in text.items()}
    found = [*functions(text, words), *settings(text, words), *metrics(text, words), *python()]
    for line in found:
        print(line)
    return 1 if found else 0


sys.exit(main())
