#!/bin/sh
# entrypoint.sh - the configuration of a container, then spendd in this process: PID 1 is the supervisor.
#
#   SPENDD_CONFIG          a file (default /etc/spendd/spendd.conf); where it exists it is taken as it is, and
#                          may say "env:NAME" and "file:/path" itself
#   else, from the environment:
#   SPENDD_REDIS_URL, SPENDD_DATABASE_URL (or DATABASE_URL)
#   SPENDD_SET_group__name=value    any setting; SPENDD_SET_name=value where it has no group
#
# With words (spendctl status, spendd --check) those are run instead.  The made file holds names of variables and
# no values of strings, so no secret is written down.
set -eu

case ${1:-} in
'' | -*) ;;
*) exec "$@" ;;
esac

config=${SPENDD_CONFIG:-/etc/spendd/spendd.conf}
if [ -e "$config" ]; then
    ! env | grep -q '^SPENDD_SET_' || echo "spendd-entrypoint: $config is there: SPENDD_SET_... is ignored" >&2
else
    config=${SPENDD_RUNTIME_DIR:-/run/spendd}/made.conf
    mkdir -p "$(dirname "$config")"
    SPENDD_DATABASE_URL=${SPENDD_DATABASE_URL:-${DATABASE_URL:-}}
    export SPENDD_DATABASE_URL
    umask 077
    awk 'BEGIN {
        if (ENVIRON["SPENDD_REDIS_URL"] != "") set("redis__url", "SPENDD_REDIS_URL")
        if (ENVIRON["SPENDD_DATABASE_URL"] != "") set("database__url", "SPENDD_DATABASE_URL")
        if (ENVIRON["SPENDD_RUNTIME_DIR"] != "") set("runtime_dir", "SPENDD_RUNTIME_DIR")
        for (variable in ENVIRON)
            if (sub(/^SPENDD_SET_/, "", variable))
                set(variable, "SPENDD_SET_" variable)
        for (name in top)
            printf "%s = %s;\n", name, top[name]
        for (group in groups)
            printf "%s: {\n%s};\n", group, groups[group]
    }
    # Numbers and booleans as they are; a string is read by spendd itself.
    function set(name, variable,   value, at) {
        value = ENVIRON[variable]
        if (value !~ /^-?[0-9]+$/ && value !~ /^(true|false)$/)
            value = "\"env:" variable "\""
        at = index(name, "__")
        if (at == 0)
            top[name] = value
        else
            groups[substr(name, 1, at - 1)] = groups[substr(name, 1, at - 1)] \
                "    " substr(name, at + 2) " = " value ";\n"
    }' > "$config"
fi
exec spendd --config "$config" "$@"
