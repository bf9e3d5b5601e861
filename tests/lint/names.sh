#!/bin/sh
# names.sh - words that must not appear, each with its reason.  Prints what it finds; fails on any.
set -u
status=0

files() { git ls-files -co --exclude-standard "$@" | grep -v '^tests/lint/'; }

# reason, then a list of findings on standard input
report() {
    found=$(cat)
    if [ -n "$found" ]; then
        printf '%s\n' "$found" | sed "s|^|$1: |"
        status=1
    fi
}

# 1. Junk drawers: a file is named for what it owns.
report "names nothing it owns" <<END
$(files | grep -E '(^|/)[^/]*(util|misc|helper|stuff|common)[^/]*\.(c|h|py|sh|def)$')
END

# 2. Paths of one machine.  (/tmp, /run, /etc, /var, /usr are everybody's.)
report "path of one machine" <<END
$(files | xargs grep -InE '(^|[^A-Za-z0-9_./-])/(work|home|root|Users)/' 2>/dev/null)
END

# 3. A note to oneself needs an issue number.
report "TODO without an issue" <<END
$(files '*.c' '*.h' '*.def' '*.py' '*.sh' Makefile | xargs grep -nE '\b(TODO|FIXME|XXX)\b' | grep -vE '(TODO|FIXME) ?\(#[0-9]+\)')
END

# 4. Sleeping is no synchronisation: wait for a condition with a deadline.  A pause *between two looks*
#    of such a wait is right: it stands in tests/lib/waiting.py, or says so on its line ("between two
#    looks").  faults.c is preloaded to make a disk slow: its sleep is the fault.
report "sleep in a test" <<END
$(files 'tests/*.py' 'tests/*.c' 'tests/*.sh' | xargs grep -nE '(\b(time\.)?sleep|\busleep|\bnanosleep) *\(|^ *sleep [0-9]' /dev/null |
    grep -vE 'between two looks|^tests/lib/(waiting\.py|faults\.c):')
END

# 5. Sleeping in the daemon is no synchronisation either.
report "sleep in the daemon" <<END
$(files 'common/*.c' 'workers/*.c' 'supervisor/*.c' | xargs grep -nE '\b(sleep|usleep|nanosleep) *\(' /dev/null)
END

# 6. Keys that stand in every log line (common/base/log.h) are nobody's own.
report "key of every log line" <<END
$(files 'common/*.c' 'workers/*.c' 'supervisor/*.c' | xargs grep -nE 'log_(error|warn|info|debug)\(.*[" ](ts|level|process|life|event|line_cut)=' /dev/null)
END

exit $status
