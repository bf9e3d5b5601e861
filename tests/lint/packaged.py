"""packaged.py - what building needs is said three times: packaging/install-deps.sh (Debian's and Fedora's names),
debian/control, and the spec.  They agree; so do the version of the Makefile and of the papers that carry it.
"""
import re
import subprocess
import sys

import tree

# Always there where packages are built, or brought by another one of the list.
DEBIAN_ALWAYS = {"gcc", "libc6-dev"}
DEBHELPER = {"debhelper-compat", "dh-sequence-installsysusers"}
# pkg-config's name of what a -devel package brings, as the spec asks for it.
SPEC = {"zeromq-devel": "libzmq", "yajl-devel": "yajl", "libsodium-devel": "libsodium", "hiredis-devel": "hiredis",
        "openssl-devel": "openssl", "libpq-devel": "libpq", "libcurl-devel": "libcurl", "libconfig-devel": "libconfig",
        "libmicrohttpd-devel": "libmicrohttpd", "zlib-devel": "zlib"}

# Papers that carry the version of the Makefile.
VERSIONS = {**{f"packaging/kubernetes/{name}.yaml": r"image: spendd:(\S+)$" for name in ("sidecar", "statefulset", "gateway-waits")},
            "CHANGELOG.md": r"\A# Changelog\n\n## (\S+)", "tests/packages/packages.py": r'^OLD, NEW = "[^"]*", "([^"]*)"$'}


def table():
    """Rows of the set `build`: [(debian, fedora), ...]"""
    text = tree.read("packaging/install-deps.sh")
    return [(row[0].strip(), row[1].strip()) for row in
            re.findall(r"^build +\|([^|]*)\|([^|]*)\|", text, re.M)]


def main():
    wrong = []
    control = re.search(r"^Build-Depends:\n((?: .*\n)+)", tree.read("packaging/debian/control"), re.M)[1]
    debian = {re.sub(r"[ (|,].*", "", line.strip().rstrip(",")) for line in control.splitlines()} - DEBHELPER
    wanted = {name for name, _ in table()} - DEBIAN_ALWAYS
    wrong += [f"packaging/debian/control: Build-Depends lacks {name}" for name in sorted(wanted - debian)]
    wrong += [f"packaging/debian/control: Build-Depends has {name}, install-deps.sh does not" for name in sorted(debian - wanted)]
    spec = set(re.findall(r"^BuildRequires: +pkgconfig\((\S+)\)", tree.read("packaging/rpm/spendd.spec.in"), re.M))
    for name in (fedora for _, fedora in table() if fedora.endswith("-devel") and fedora != "glibc-devel"):
        if name not in SPEC:
            wrong.append(f"tests/lint/packaged.py: pkg-config's name of {name}?")
        elif SPEC[name] not in spec:
            wrong.append(f"packaging/rpm/spendd.spec.in: BuildRequires lacks pkgconfig({SPEC[name]})")
    wrong += [f"packaging/rpm/spendd.spec.in: BuildRequires pkgconfig({name}), install-deps.sh does not have it"
              for name in sorted(spec - set(SPEC.values()))]
    version = re.search(r"^VERSION := (\S+)$", tree.read("Makefile"), re.M)[1]
    for path, pattern in VERSIONS.items():
        found = re.findall(pattern, tree.read(path), re.M)
        if not found or set(found) != {version}:
            wrong.append(f"{path}: version {' '.join(found)}, the Makefile says {version}")
    for path in ("packaging/package.sh", "packaging/debian/rules"):
        if subprocess.run(["sh", "-n", path] if path.endswith(".sh") else ["test", "-x", path], check=False).returncode:
            wrong.append(f"{path}: no good script, or not executable")
    for line in wrong:
        print(line)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
