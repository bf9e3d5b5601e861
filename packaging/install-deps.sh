#!/bin/sh
# install-deps.sh - installs the packages that are missing, and says which and why.
#
#   packaging/install-deps.sh build      what `make` needs
#   packaging/install-deps.sh run        ... and what `make demo` needs (servers, Python)
#   packaging/install-deps.sh test       ... and what `make test` needs
#   packaging/install-deps.sh dev        ... and what `make format` needs
#   packaging/install-deps.sh package    what `make package` needs (both kinds on Debian, .rpm on Fedora)
#   packaging/install-deps.sh test-packages  ... and what `make test-packages` needs (Debian alone)
#   packaging/install-deps.sh --list SET only prints them, one per line
#
# Proved on Debian 12 and 13.  Ubuntu 24.04 and Fedora are written and UNTESTED.
# Needs nothing but sh.  Where all is there it says so and changes nothing; running it again is free.
# Exit code: 0 all there (now), 1 could not install (it says what to do), 2 usage.
#
# Debian's redis-server and postgresql start a server of their own when they are installed.  spendd's demo
# and tests never use those (they make private ones on sockets of their own), so for the time of the
# installation a policy-rc.d keeps them from being started.  One that was there before is left alone.
set -eu

# set | Debian, Ubuntu | Fedora | why
table() {
    cat <<'TABLE'
build | gcc              | gcc                  | the compiler
build | libc6-dev        | glibc-devel          | headers of the C library
build | pkg-config       | pkgconf-pkg-config   | finds the libraries
build | libzmq3-dev      | zeromq-devel         | ZeroMQ: ingest, pipelines between workers, admin socket
build | libyajl-dev      | yajl-devel           | JSON parser that hands numbers over as text: money never becomes a float
build | libsodium-dev    | libsodium-devel      | keyed hashes, SHA-256, random epochs
build | libhiredis-dev   | hiredis-devel        | Redis protocol
build | libssl-dev       | openssl-devel        | TLS to Redis (the hiredis of Debian 12 has none)
build | libpq-dev        | libpq-devel          | PostgreSQL client
build | libcurl4-openssl-dev | libcurl-devel    | health checks of models over HTTP(S), on the same TLS as Redis
build | libconfig-dev    | libconfig-devel      | the configuration file
build | libmicrohttpd-dev | libmicrohttpd-devel | HTTP ingest and health, inside our own loop
build | zlib1g-dev       | zlib-devel           | gzip bodies of HTTP ingest
run   | redis-server     | valkey-compat-redis  | a private Redis for the demo and the tests
run   | postgresql       | postgresql-server    | a private PostgreSQL for the demo and the tests
run   | python3          | python3              | the demo and the tests
run   | python3-zmq      | python3-pyzmq        | producers in the demo and the tests
run   | python3-redis    | python3-redis        | the demo and the tests look into Redis
run   | python3-psycopg2 | python3-psycopg2     | the demo and the tests look into PostgreSQL
test  | python3-pytest   | python3-pytest       | runs the tests against real servers
test  | python3-pytest-xdist | python3-pytest-xdist | several of them at once: they wait more than they compute
test  | python3-venv     | -                    | throw-away environments with LiteLLM itself, from PyPI
test  | libcmocka-dev    | libcmocka-devel      | unit tests
test  | spin             | spin                 | checks the model of the custody chain
test  | pgbouncer        | pgbouncer            | the flusher through a pooler in transaction mode
test  | openssl          | openssl              | certificates for tests of TLS
test  | iproute2         | iproute              | network namespaces: links that fall silent in the kernel (as root)
test  | prometheus       | golang-github-prometheus | promtool checks the metrics, rules and alerts
test  | python3-prometheus-client | python3-prometheus_client | the official parser reads the metrics
test  | chromium         | chromium-headless    | the page is looked at in a real browser
asan  | -                | libasan              | runs under AddressSanitizer
asan  | -                | libubsan             | runs under the undefined-behaviour sanitizer
package | build-essential | -                   | what building a .deb takes for granted
package | dpkg-dev       | -                    | dpkg-buildpackage makes the .deb
package | debhelper      | -                    | and this does most of it
package | fakeroot       | -                    | root's files in a package that a user builds
package | rpm            | rpm-build            | rpmbuild makes the .rpm
package | -              | systemd-rpm-macros   | what the .rpm's scripts run
roots   | debootstrap    | -                    | make test-packages: clean roots of Debian 12 and 13
roots   | systemd-container | -                 | make test-packages: a systemd that runs as PID 1 of such a root
roots   | lintian        | -                    | make test-packages: looks at the .deb
roots   | rpmlint        | rpmlint              | make test-packages: looks at the .rpm
roots   | rpm2cpio       | -                    | make test-packages: unpacks the .rpm
roots   | cpio           | cpio                 | make test-packages: unpacks the .rpm
dev   | clang-format     | clang-tools-extra    | make format
TABLE
}

say() { printf 'install-deps: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }

usage() {
    sed -n 's/^#   \(packaging.*\)/  \1/p' "$0" >&2
    exit 2
}

# The rows of a set, its smaller sets included, as "package|why".
rows_of() {
    case $1 in
    build) sets=' build ' ;;
    run)   sets=' build run ' ;;
    test)  sets=' build run test asan ' ;;
    dev)   sets=' build run test asan dev ' ;;
    package) sets=' build package ' ;;
    test-packages) sets=' build run package roots ' ;;
    *)     usage ;;
    esac
    table | awk -F' *[|] *' -v sets="$sets" -v column="$column" '
        index(sets, " " $1 " ") && $column != "-" { print $column "|" $4 }'
}

find_system() {
    if command -v dpkg-query >/dev/null 2>&1 && command -v apt-get >/dev/null 2>&1; then
        system=debian column=2
    elif command -v rpm >/dev/null 2>&1 && command -v dnf >/dev/null 2>&1; then
        system=fedora column=3
    else
        system=unknown column=2
    fi
}

# Names on standard input -> those of them that are installed.
installed_debian() {
    xargs dpkg-query -W -f '${db:Status-Status} ${Package}\n' 2>/dev/null | sed -n 's/^installed //p' || :
}

installed_fedora() {
    while read -r name; do
        if rpm -q --whatprovides "$name" >/dev/null 2>&1; then echo "$name"; fi
    done
}

missing_rows() {
    present=$(rows_of "$1" | cut -d'|' -f1 | "installed_$system")
    rows_of "$1" | while IFS='|' read -r name why; do
        case "
$present
" in
        *"
$name
"*) ;;
        *) printf '%s|%s\n' "$name" "$why" ;;
        esac
    done
}

# Prints nothing for root, else the word to put in front.
become_root() {
    if [ "$(id -u)" -eq 0 ]; then
        echo env
    elif command -v sudo >/dev/null 2>&1; then
        echo sudo
    else
        fail "neither root nor sudo: as root, run  $1"
    fi
}

policy=/usr/sbin/policy-rc.d
policy_mark='# spendd install-deps.sh: temporary, may be removed'

policy_on() {
    if [ -e $policy ] && ! grep -qF "$policy_mark" $policy; then
        return
    fi
    printf '#!/bin/sh\n%s\nexit 101\n' "$policy_mark" | $root tee $policy >/dev/null
    $root chmod 755 $policy
}

policy_off() {
    if [ -e $policy ] && grep -qF "$policy_mark" $policy; then
        $root rm -f $policy
    fi
}

apt() {
    $root env DEBIAN_FRONTEND=noninteractive apt-get -q -o DPkg::Lock::Timeout=300 "$@"
}

install_debian() {
    trap policy_off EXIT
    trap 'exit 1' HUP INT TERM
    policy_on
    updated=no
    if ! ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1; then
        say "no package lists: apt-get update"
        apt update || fail "apt-get update failed: is there a network, is /etc/apt/sources.list right?"
        updated=yes
    fi
    # shellcheck disable=SC2086
    if ! apt install -y --no-install-recommends $1; then
        [ $updated = no ] || fail "apt-get install failed, see above"
        say "apt-get install failed: the package lists may be old, apt-get update and once more"
        apt update || fail "apt-get update failed: is there a network?"
        apt install -y --no-install-recommends $1 || fail "apt-get install failed, see above"
    fi
}

install_fedora() {
    # shellcheck disable=SC2086
    $root dnf install -y $1 || fail "dnf install failed, see above"
}

find_system
if [ "${1:-}" = --list ]; then
    [ $# -eq 2 ] || usage
    rows_of "$2" | cut -d'|' -f1
    exit 0
fi
[ $# -eq 1 ] || usage
rows_of "$1" >/dev/null

if [ $system = unknown ]; then
    say "neither apt-get nor dnf here.  Install what corresponds to these, then use  make SKIP_DEPS=1 ..." >&2
    rows_of "$1" | awk -F'|' '{ printf "  %-18s %s\n", $1, $2 }' >&2
    exit 1
fi

missing=$(missing_rows "$1")
if [ -z "$missing" ]; then
    say "$1: nothing to do"
    exit 0
fi
say "$1: these packages are missing and will be installed"
printf '%s\n' "$missing" | awk -F'|' '{ printf "  %-18s %s\n", $1, $2 }'
names=$(printf '%s\n' "$missing" | cut -d'|' -f1 | tr '\n' ' ')
case $system in
debian) root=$(become_root "apt-get install $names") ;;
fedora) root=$(become_root "dnf install $names") ;;
esac
"install_$system" "$names"
still=$(missing_rows "$1")
[ -z "$still" ] || fail "still missing: $(printf '%s\n' "$still" | cut -d'|' -f1 | tr '\n' ' ')"
say "$1: done"
