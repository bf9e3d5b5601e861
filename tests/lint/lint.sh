#!/bin/sh
# lint.sh - the rules of the house that a compiler does not know.  Runs every check, then says what
# failed.  Soft limits are reported and never fail.
#
#   dependencies.py  who may include whom; one library, one door
#   sizes.py         lines of files, functions and headers; length of lines
#   names.sh         junk-drawer names, paths of one machine, TODO without an issue, sleeps in tests
#   troubles.py      every event at warn or error has its row in docs/troubleshooting.md
#   unused.py        what nobody uses: functions, settings, metrics, names of Python files
#   packaged.py      what is needed to build, in its three lists; versions
#   papers.py        paths in .md files that do not exist, make targets that are none
set -u
cd "$(dirname "$0")/../.." || exit 2
python=${PYTHON:-/usr/bin/python3}
status=0
for check in "$python tests/lint/dependencies.py" "$python tests/lint/sizes.py" \
    "tests/lint/names.sh" "$python tests/lint/troubles.py" "$python tests/lint/unused.py" \
    "$python tests/lint/packaged.py" "$python tests/lint/papers.py"; do
    if ! PYTHONDONTWRITEBYTECODE=1 $check; then
        echo "lint: FAILED: ${check##* }"
        status=1
    fi
done
[ $status -ne 0 ] || echo "lint: ok"
exit $status
