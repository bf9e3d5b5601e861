#!/bin/sh
# package.sh - builds the packages of this tree into build/packages.
#
#   packaging/package.sh tar    spendd_VERSION.orig.tar.gz: the sources, the same bytes each time
#   packaging/package.sh deb    source and binary .deb of the Debian or Ubuntu that runs here
#   packaging/package.sh rpm    .rpm by rpmbuild (on a system without dnf: --nodeps)
#   packaging/package.sh        whichever of deb and rpm there are tools for
#
# The environment: VERSION (else the Makefile's), REVISION (else 1), OUT (else build/packages),
# SOURCE_DATE_EPOCH (else the time of the last commit).
#
# debian/ and the spec live in packaging/ and not at the top, where a distribution that packages spendd has
# its own: here they are laid over an unpacked copy of the sources, so what is built is what the tarball
# holds and never what happened to lie in the tree.  Exit code: 0 built, 1 not (it says why), 2 usage.
set -eu
cd "$(dirname "$0")/.."
here=$PWD
# What a builder's environment says of files and languages is not part of a package.
umask 022
LC_ALL=C.UTF-8 TZ=UTC
export LC_ALL TZ

VERSION=${VERSION:-$(sed -n 's/^VERSION := //p' Makefile)}
REVISION=${REVISION:-1}
OUT=${OUT:-build/packages}
mkdir -p "$OUT"
OUT=$(cd "$OUT" && pwd)
if [ -z "${SOURCE_DATE_EPOCH:-}" ]; then
    SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md)
fi
export SOURCE_DATE_EPOCH
date_of() { date -u -d "@$SOURCE_DATE_EPOCH" "$@"; }

say() { printf 'package: %s\n' "$*"; }
fail() { say "$*" >&2; exit 1; }
need() {
    command -v "$1" >/dev/null 2>&1 || fail "no $1 here: packaging/install-deps.sh package"
}

# The files of the tree, of a clone or of an unpacked tarball.
sources() {
    if git rev-parse --git-dir >/dev/null 2>&1; then
        git ls-files -co --exclude-standard | while read -r path; do
            [ ! -e "$path" ] || printf '%s\n' "$path"
        done
    else
        find . -type f ! -path './build/*' ! -path './.git/*' ! -path '*/spendd-package-*' | sed 's|^\./||'
    fi | sort
}

tarball() {
    tarball=$1/spendd_$VERSION.orig.tar.gz
    sources | tar --files-from=- --transform "s|^|spendd-$VERSION/|" --sort=name --mtime="@$SOURCE_DATE_EPOCH" \
        --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX --format=gnu -cf - | gzip -9n > "$tarball"
}

# An empty directory that goes with us.
workdir() {
    work=$(mktemp -d "${TMPDIR:-/tmp}/spendd-package-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    trap 'exit 1' HUP INT TERM
}

deb() {
    need dpkg-buildpackage
    need dh
    # shellcheck disable=SC1091
    suite=$(. /etc/os-release && echo "$ID${VERSION_ID:-}" | sed 's/^debian/deb/')
    full=$VERSION-$REVISION~$suite
    workdir
    tarball "$work"
    tar -C "$work" -xf "$tarball"
    cd "$work/spendd-$VERSION"
    cp -R packaging/debian debian
    sed -i -e "s/@VERSION@/$full/" -e "s/@UPSTREAM@/$VERSION/" -e "s/@DATE@/$(date_of -R)/" debian/changelog
    dpkg-buildpackage -us -uc -j"$(nproc)" > "$work/log" 2>&1 || { tail -40 "$work/log"; fail "dpkg-buildpackage failed"; }
    cd "$work"
    for made in *.deb *.dsc *.orig.tar.gz *.changes *.buildinfo *.debian.tar.*; do
        mv "$made" "$OUT"
        say "$(basename "$OUT")/$made"
    done
    cp "$work/log" "$OUT/deb.log"
    cd "$here"
}

rpm_package() {
    need rpmbuild
    workdir
    mkdir -p "$work/SOURCES"
    tarball "$work/SOURCES"
    sed -e "s/@VERSION@/$VERSION/g" -e "s/@RELEASE@/$REVISION/g" -e "s/@DATE@/$(date_of '+%a %b %d %Y')/" \
        packaging/rpm/spendd.spec.in > "$work/spendd.spec"
    set -- --define "_topdir $work" --define "_buildhost reproducible" \
        --define "use_source_date_epoch_as_buildtime 1" --define "clamp_mtime_to_source_date_epoch 1"
    # Not a system of rpm: nothing is installed by it, and its macros for units are not there.
    command -v dnf >/dev/null 2>&1 || set -- --nodeps --load packaging/rpm/macros.elsewhere "$@"
    rpmbuild -ba "$@" "$work/spendd.spec" > "$work/log" 2>&1 || { tail -40 "$work/log"; fail "rpmbuild failed"; }
    for made in "$work"/RPMS/*/*.rpm "$work"/SRPMS/*.rpm; do
        mv "$made" "$OUT"
        say "$(basename "$OUT")/$(basename "$made")"
    done
    cp "$work/log" "$OUT/rpm.log"
}

case ${1:-all} in
tar) tarball "$OUT"; say "$(basename "$OUT")/$(basename "$tarball")" ;;
deb) deb ;;
rpm) rpm_package ;;
all)
    any=no
    if command -v dpkg-buildpackage >/dev/null 2>&1; then "$0" deb; any=yes; fi
    if command -v rpmbuild >/dev/null 2>&1; then "$0" rpm; any=yes; fi
    [ $any = yes ] || fail "neither dpkg-buildpackage nor rpmbuild here: packaging/install-deps.sh package"
    ;;
*) sed -n 's/^#   \(packaging.*\)/  \1/p' "$0" >&2; exit 2 ;;
esac
