"""dependencies.py - arrows point downward only, and each library has one door.

Two looks: every #include line against the tables below (names the line), and `gcc -MM` over every
source for what a worker reaches through others (siblings must never meet, by whatever way).
"""
import os
import re
import subprocess
import sys

import tree

# room -> rooms that it may include, besides itself.  A new room is a new row.
ALLOWED = {
    "common/base": "",
    "common/money": "base",
    "common/msg": "base",
    "common/stats": "base",
    "common/json": "base",
    "common/config": "base roster",
    "common/event": "json money base",
    "common/batch": "event money base",
    "common/litellm": "event json money stats base",
    "common/harness": "config msg stats base roster",
    "common/curve": "base",
    "common/bus": "harness msg stats curve base",
    "common/redis": "harness stats base config",
    "common/pg": "harness stats base config",
    "common/errand": "harness json base",
    "common/admin": "bus json base",
    "supervisor": "harness config stats msg base roster curve",
}
SPENDCTL = "admin bus json base"
WORKER = "admin base batch bus config errand event harness json litellm money msg pg redis stats roster"

# header -> where alone it may be included
DOORS = {
    r"zmq\.h|czmq.*": "common/bus/",
    r"hiredis(/.*|\.h)|(read|sds|async)\.h": "common/redis/",
    r"openssl/.*": ("common/redis/", "common/pg/pg_tls.c"),  # the second only looks at libpq's
    r"libpq-fe\.h|postgres.*": "common/pg/",
    r"libconfig\.h": "common/config/",
    r"yajl.*": "common/json/",
    r"microhttpd\.h": "workers/gateway/",
    r"zlib\.h": "workers/gateway/",
    r"curl/.*": "workers/health_checker/",
}

INCLUDE = re.compile(r'^\s*#\s*include\s+([<"])([^>"]+)[>"]')


def room_of(path):
    parts = path.split("/")
    if parts[0] == "supervisor":
        return "supervisor"
    if path == "workers/roster.def":
        return "roster"
    return "/".join(parts[:2])


def allowed_for(path):
    room = room_of(path)
    if path.startswith("supervisor/spendctl"):
        words = SPENDCTL
    elif room.startswith("workers/"):
        words = WORKER
    elif room in ALLOWED:
        words = ALLOWED[room]
    else:
        return None
    return {room} | {"roster" if word == "roster" else "common/" + word for word in words.split()}


def check_line(path, number, quote, target, found):
    if quote == "<":
        for header, door in DOORS.items():
            doors = (door,) if isinstance(door, str) else door
            if re.fullmatch(header, target) and not path.startswith((*doors, "tests/")):
                found.append(f"{path}:{number}: <{target}> belongs behind {door}")
        return
    allowed = allowed_for(path)
    if allowed is None:
        found.append(f"{path}:{number}: {room_of(path)} is no room of tests/lint/dependencies.py")
    elif "/" not in target:
        found.append(f'{path}:{number}: "{target}": include by the path from the root')
    elif room_of(target) not in allowed:
        found.append(f'{path}:{number}: {room_of(path)} may not include "{target}"')


def check_includes(found):
    for path in tree.files(".c", ".h", ".def"):
        if not path.startswith(("common/", "supervisor/", "workers/")):
            continue
        lines = tree.read(path).splitlines()
        for number, line in enumerate(lines, 1):
            match = INCLUDE.match(line)
            if match:
                check_line(path, number, match[1], match[2], found)
        check_own_header_first(path, lines, found)


def check_own_header_first(path, lines, found):
    header = path[:-2] + ".h"
    if not path.endswith(".c") or header not in tree.files(".h"):
        return
    first = next((INCLUDE.match(line)[2] for line in lines if INCLUDE.match(line)), "")
    if os.path.dirname(first) != os.path.dirname(header):
        found.append(f"{path}: includes {first} before its own header")


def check_reach(found):
    """What each worker's sources reach, through whatever headers."""
    sources = [path for path in tree.files(".c") if path.startswith("workers/")]
    if not sources:
        return
    flags = subprocess.run(
        ["pkg-config", "--cflags", "libzmq", "yajl", "hiredis", "libpq", "libconfig", "openssl", "libcurl"],
        capture_output=True, text=True).stdout.split()
    out = subprocess.run(["gcc", "-MM", "-D_GNU_SOURCE", "-I.", *flags, *sources],
                         capture_output=True, text=True)
    if out.returncode != 0:
        found.append("gcc -MM: " + out.stderr.strip())
    for rule in out.stdout.replace("\\\n", " ").splitlines():
        source, *reached = rule.split(":", 1)[1].split()
        for path in reached:
            strange = path.startswith("supervisor/") or (
                path.startswith("workers/") and room_of(path) not in (room_of(source), "roster"))
            if strange:
                found.append(f"{source}: reaches {path}")


def main():
    found = []
    check_includes(found)
    check_reach(found)
    for line in found:
        print(line)
    return 1 if found else 0


sys.exit(main())
