"""`make test-packages`: the packages, built in clean roots and lived with under a real systemd.

For each suite: two versions are built from this tree in a root that holds the build dependencies alone, looked
at by lintian, and installed into a machine that systemd boots: the README's lines for installing and for sending an
event, as they stand there, a stream of events through a kill of the supervisor, an upgrade and the way back, secrets as
credentials, the watchdog, the socket unit, a removal with events in the spool, a purge.  Then the .rpm, unpacked
into an empty root.

  packages.py [bookworm|trixie ...]    both by default; KEEP=1 leaves the roots where they are,
                                       REUSE=1 takes the packages that the last run built

Exit code: 0 proved, or skipped (it says so, and why), 1 not.
"""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True

from roots import APT, MIRROR, Failed, Machine, NoMachine, layer, run  # noqa: E402

import container  # noqa: E402

from lib.waiting import WaitFailed, wait_until  # noqa: E402
from lib.wire import ROOT  # noqa: E402

OUT = os.path.join(ROOT, "build", "packages")
SUITES = ("bookworm", "trixie")
OLD, NEW = "0.0.9", "0.1.0"
STORES = ["systemd-sysv", "dbus", "procps", "man-db", "redis-server", "postgresql", "python3-zmq", "python3-psycopg2",
          "python3-redis"]
SECCOMP_FILTER = "2"
EXPOSURE_MAX = 2.0
ENDLESS = 10**9
CONFIG = """redis: { url = "redis://127.0.0.1:6379/0"; };
database: { url = "postgresql:///spendd"; };
spool: { keep_free_percent = 1; };
"""
# What a distribution expects to find, beside what runs.
PAPERS = [f"/usr/share/{path}" for path in (
    "man/man8/spendd.8.gz", "man/man1/spendctl.1.gz", "man/man5/spendd.conf.5.gz", "doc/spendd/copyright", "doc/spendd/changelog.gz",
    "doc/spendd/guide.md.gz", "bash-completion/completions/spendctl", "zsh/vendor-completions/_spendctl",
    "doc/spendd-litellm/copyright", "spendd/litellm/spendd_callback.py", "spendd/grafana/spendd.json", "spendd/prometheus/alerts.yml")]
CREDENTIALS = """[Service]
LoadCredential=redis-url:/etc/spendd/redis-url
LoadCredential=database-url:/etc/spendd/database-url
WatchdogSec=2
"""


def say(text):
    print(f"packages: {text}", flush=True)


def need(condition, text):
    if not condition:
        raise Failed(text)


# --- building --------------------------------------------------------------------------------------------
def build_dependencies():
    with open(os.path.join(ROOT, "packaging/debian/control"), encoding="utf-8") as file:
        field = re.search(r"^Build-Depends:\n((?: .*\n)+)", file.read(), re.M)[1]
    names = [re.sub(r"[ (|].*", "", word.strip()) for word in field.split(",")]
    return ["debhelper" if name in ("debhelper-compat", "dh-sequence-installsysusers") else name for name in names if name]


def build(suite):
    """Both versions; in the first suite the new one twice, in another directory: the same bytes."""
    root = layer(suite, "build", ["build-essential", "fakeroot", *build_dependencies()])
    try:
        sources = run(["packaging/package.sh", "tar"], "the tarball", cwd=ROOT, env={**os.environ, "VERSION": NEW, "OUT": OUT})
        say(sources.strip())
        epoch = run(["sh", "-c", "git log -1 --format=%ct 2>/dev/null || stat -c %Y CHANGELOG.md"], "time", cwd=ROOT).strip()
        twice = suite == SUITES[0]
        for place, version in (("a", OLD), ("a", NEW), ("b/deeper", NEW))[:3 if twice else 2]:
            shutil.rmtree(root.inside("build", place), ignore_errors=True)
            os.makedirs(root.inside("build", place))
            os.makedirs(root.inside("build/work", place), exist_ok=True)
            run(["tar", "-C", root.inside("build", place), "--strip-components=1", "-xf",
                 os.path.join(OUT, f"spendd_{NEW}.orig.tar.gz")], "unpacking")
            root.chroot(["sh", "-c", f"cd /build/{place} && exec packaging/package.sh deb"], f"building {version}", 900,
                        env={"VERSION": version, "OUT": f"/build/{place[0]}-{version}", "SOURCE_DATE_EPOCH": epoch,
                             "TMPDIR": f"/build/work/{place}"})
        made = os.path.join(OUT, suite)
        shutil.rmtree(made, ignore_errors=True)
        for version in (OLD, NEW):
            shutil.copytree(root.inside(f"build/a-{version}"), os.path.join(made, version))
        if twice:
            same_bytes(os.path.join(made, NEW), root.inside(f"build/b-{NEW}"))
        need([name for name in os.listdir(os.path.join(made, NEW)) if name.startswith("spendd-dbgsym_")], "no -dbgsym was made")
        return made
    finally:
        root.remove()


def same_bytes(one, other):
    names = sorted(name for name in os.listdir(one) if name.endswith((".deb", ".dsc", ".tar.gz", ".tar.xz")))
    need(names == sorted(name for name in os.listdir(other) if name.endswith((".deb", ".dsc", ".tar.gz", ".tar.xz"))),
         f"two builds made other files: {names} and {os.listdir(other)}")
    for name in names:
        with open(os.path.join(one, name), "rb") as left, open(os.path.join(other, name), "rb") as right:
            need(left.read() == right.read(), f"two builds of {name} differ: not reproducible")
    say(f"reproducible: {len(names)} files, two builds in two directories, the same bytes")


def lint(made):
    """As nobody's: lintian does not like root.  No tag is left but those with an override and its reason."""
    changes = next(os.path.join(made, name) for name in os.listdir(made) if name.endswith(".changes"))
    said = subprocess.run(["lintian", "--allow-root", "--fail-on", "error,warning", changes],
                          capture_output=True, text=True, timeout=300)
    need(said.returncode == 0 and not re.search(r"^[EW]:", said.stdout, re.M), f"lintian:\n{said.stdout}{said.stderr}")
    say("lintian: clean")


def debs(made):
    """Path of spendd's packages, without debug symbols."""
    return [os.path.join(made, name) for name in sorted(os.listdir(made))
            if name.endswith(".deb") and "dbgsym" not in name]


# --- a machine -------------------------------------------------------------------------------------------
def machine_root(suite, made):
    """Stores, the test's own Python, and what our package depends on, downloaded and not installed."""
    root = layer(suite, "machine", STORES)
    for version in (OLD, NEW):
        os.makedirs(root.inside("debs", version))
        for path in debs(os.path.join(made, version)):
            shutil.copy(path, root.inside("debs", version))
    # Where `make package` would have put them, for whoever follows the README.
    os.makedirs(root.inside("clone/build"))
    shutil.copytree(root.inside("debs", OLD), root.inside("clone/build/packages"))
    if os.path.exists(root.inside("usr/bin/kill")):  # the tests' procps brought it; a root with nothing in it has none
        os.unlink(root.inside("usr/bin/kill"))
    root.write("etc/apt/apt.conf.d/90yes", 'APT::Get::Assume-Yes "true";\n')
    os.makedirs(root.inside("opt/tests"))
    for room in ("lib", "packages"):
        shutil.copytree(os.path.join(ROOT, "tests", room), root.inside("opt/tests", room))
    os.makedirs(root.inside("opt/common/event"))
    os.makedirs(root.inside("sent"))
    os.chmod(root.inside("sent"), 0o777)
    root.chroot(["apt-get", "-q", "update"], "apt-get update")
    # With what is recommended: the README's line has no options.
    root.chroot(["sh", "-c", f"apt-get -q --download-only install /debs/{NEW}/*.deb"], "downloading what spendd needs")
    return root


def version(machine):
    return machine.run("spendd", "--version")


def state(machine, unit="spendd.service"):
    return machine.ask("systemctl", "is-active", unit).strip()


def main_pid(machine):
    return int(machine.ask("systemctl", "show", "-P", "MainPID", "spendd").strip() or 0)


def install(machine, which, *options):
    return machine.run("sh", "-c", f"{' '.join(APT)} {' '.join(options)} install /debs/{which}/*.deb", timeout_s=200)


def ready(machine, what):
    """Active for systemd, and no worker in trouble."""
    wait_until(lambda: state(machine) == "active", 60, f"spendd to be active ({what})", [machine], look_s=0.2)
    wait_until(lambda: settled(machine), 60, f"workers ({what})", [machine], look_s=0.2)


def settled(machine):
    try:
        rows = json.loads(machine.ask("spendctl", "--json", "status"))["workers"]
    except (ValueError, KeyError):
        return False
    return bool(rows) and all(row["state"] == "READY" or row["name"] == "db_flusher" for row in rows)


def flushing(machine):
    wait_until(lambda: re.search(r'"name": ?"db_flusher"[^}]*"READY"', machine.ask("spendctl", "--json", "status")), 60,
               "the flusher", [machine], look_s=0.2)


class Load:
    """Events from a gateway of the group spendd, sent while other things happen."""

    def __init__(self, machine, name, count, seed):
        self.machine, self.path, self.count = machine, f"/sent/{name}", count
        self.process = machine.start("/usr/bin/python3", "/opt/tests/packages/load.py", "send", self.path, str(count), str(seed),
                                     user="gateway")

    def acked(self):
        try:
            with open(self.machine.root.inside(self.path.lstrip("/") + ".progress"), encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            return 0

    def reach(self, count):
        wait_until(lambda: self.acked() >= count or self.process.poll() is not None, 120, f"{count} acknowledged events",
                   [self.machine], look_s=0.05)
        need(self.process.poll() is None or self.acked() >= count, f"the load ended: {self.process.poll()}")
        return self

    def end(self):
        """No more events; what is in flight is seen through."""
        with open(self.machine.root.inside(self.path.lstrip("/") + ".stop"), "w", encoding="ascii"):
            pass
        return self.wait()

    def wait(self):
        output = self.process.communicate(timeout=300)[0]
        need(self.process.returncode == 0, f"the load: exit {self.process.returncode}\n{output}\n{self.machine.tail()}")
        return self.path


def conserved(machine, paths):
    figures = machine.run("/usr/bin/python3", "/opt/tests/packages/load.py", "examine", *paths, user="postgres", timeout_s=200)
    say("conserved: " + ", ".join(f"{name.strip()} {value}" for name, value in
                                  re.findall(r"^\s*(acked|counted|lost|counted twice)\s+([\d,]+)\s*$", figures, re.M)))


def readme(heading, language=""):
    """The first block of code below a heading of the README."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as file:
        return re.search(rf"(?s)\n#+ {heading}\n.*?\n```{language}\n(.*?)\n```\n", file.read())[1]


def newcomer(machine):
    """Types what the README says, line by line, and nothing else; looks at what it promises."""
    made, apt, *lines = readme("Installing").splitlines()
    need(made == "make package" and apt.startswith("apt install ./build/packages/spendd_"), f"the README begins with {made}, {apt}")
    machine.run("sh", "-ec", f"cd /clone && {apt}", timeout_s=200)
    fresh_install(machine)
    for line in lines:
        said = machine.run("sh", "-ec", f"cd /clone && {line}")
    need("database" in said and "READY" in said, f"the last line shows the status:\n{said}")
    machine.root.write("sent/first.py", readme("Sending events", "python"), 0o644)
    said = machine.run("/usr/bin/python3", "/sent/first.py")
    need(said.startswith("A1 ") and "'accepted': 1" in said, f"the README's event: {said}")
    machine.run("spendctl", "flush", "--wait")
    need(machine.run("psql", "-Atc", "select spend from spendd.spend where entity_type = 'team' and entity_id = 'search'", "spendd",
                     user="postgres").strip().rstrip("0") == "0.000153", "the README's event was not counted")
    machine.run("psql", "-qc", "truncate spendd.spend_log, spendd.spend, spendd.spend_daily", "spendd", user="postgres")
    say("README: installed, configured, an event sent and counted, by its own lines")


def fresh_install(machine):
    """As Debian does it: started at once, with the default configuration, and nothing is there for it yet."""
    ready(machine, "fresh install")
    need(machine.run("systemctl", "is-enabled", "spendd").strip() == "enabled", "the service is enabled")
    need(machine.ask("systemctl", "is-enabled", "spendd.socket").strip() == "disabled", "the socket is not")
    need(machine.run("stat", "-c", "%a %U:%G", "/etc/spendd/spendd.conf").strip() == "640 root:spendd", "the configuration's mode")
    need(machine.run("stat", "-c", "%a %U:%G", "/run/spendd", "/var/lib/spendd").split() ==
         ["750", "spendd:spendd"] * 2, "the directories")
    need(OLD in version(machine), "the version")
    gate = machine.run("spendctl", "--json", "status")
    need('"HELD"' in gate, f"without its database the flusher is held: {gate}")
    sandbox(machine)
    units(machine)
    install(machine, OLD)  # what goes with it
    machine.run("stat", *PAPERS)
    need("exactly once" in machine.run("man", "-P", "cat", "spendd"), "its manual")
    words = machine.run("bash", "-c", ". /usr/share/bash-completion/completions/spendctl; complete -p spendctl")
    need("spendctl" in words, f"completion: {words}")
    say("fresh install: enabled, started, flusher held, sandboxed; manual, completion and papers are there")


def sandbox(machine):
    """Not what the unit says, what the kernel says of each process."""
    pids = machine.run("systemctl", "show", "-P", "MainPID", "spendd").split() + \
        machine.run("pgrep", "-u", "spendd", "-f", "^spendd: ").split()
    need(len(pids) >= 5, f"processes of spendd: {pids}")
    for pid in pids:
        status = dict(line.split(":\t", 1) for line in machine.run("cat", f"/proc/{pid}/status").splitlines() if ":\t" in line)
        need(status["Seccomp"] == SECCOMP_FILTER and status["NoNewPrivs"] == "1", f"{status['Name']}: {status}")
        need(int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0, f"capabilities of {status['Name']}")
    inside = ["nsenter", "-t", pids[0], "-m"]
    for path in ("/usr/x", "/etc/spendd/x", "/var/x"):
        need("Read-only" in machine.ask(*inside, "touch", path) or "ermission" in machine.ask(*inside, "touch", path),
             f"{path} can be written")
    need(machine.ask(*inside, "sh", "-c", "touch /var/lib/spendd/x && rm /var/lib/spendd/x && echo yes").strip() == "yes",
         "the state directory cannot be written")


def units(machine):
    said = machine.run("systemd-analyze", "verify", "spendd.service", "spendd.socket")
    need("spendd" not in said, f"systemd-analyze verify: {said}")
    said = machine.run("systemd-analyze", "security", "--no-pager", "spendd.service")
    level = float(re.search(r"exposure level for spendd.service: ([\d.]+)", said)[1])
    need(level < EXPOSURE_MAX, f"exposure {level}")
    say(f"systemd-analyze: verify without a word, exposure {level}")


def configure(machine):
    """By reload; a bad file is refused, and changes nothing."""
    machine.run("useradd", "-G", "spendd", "gateway")
    machine.root.write("etc/spendd/spendd.conf", CONFIG, 0o640)
    machine.run("systemctl", "reload", "spendd")
    flushing(machine)
    machine.root.write("etc/spendd/spendd.conf", CONFIG + "flsuh: { ms = 1; };\n", 0o640)
    need("spendd.service" in machine.ask("systemctl", "reload", "spendd") and state(machine) == "active",
         "a bad file makes the reload fail, and changes nothing")
    need("unknown setting flsuh" in machine.journal(), "and the journal says why")
    machine.root.write("etc/spendd/spendd.conf", CONFIG, 0o640)
    machine.run("systemctl", "reload", "spendd")


def upgrade_and_back(machine):
    load = Load(machine, "upgrade", ENDLESS, 1).reach(2000)
    before = main_pid(machine)
    machine.run("sh", "-c", f"kill -9 {before}")
    wait_until(lambda: main_pid(machine) not in (0, before), 60, "systemd to start it again", [machine], look_s=0.1)
    load.reach(load.acked() + 600)
    old = main_pid(machine)
    install(machine, NEW)
    need(NEW in version(machine) and main_pid(machine) not in (0, old), "the upgrade restarted the service")
    ready(machine, "upgrade")
    need(NEW in machine.run("spendctl", "--json", "version"), f"the new build runs: {machine.ask('spendctl', 'version')}")
    load.reach(load.acked() + 600)
    install(machine, OLD, "--allow-downgrades")
    ready(machine, "rollback")
    need(OLD in machine.run("spendctl", "--json", "version"), "the old build runs")
    path = load.reach(load.acked() + 600).end()
    need("640 root:spendd" in machine.run("stat", "-c", "%a %U:%G", "/etc/spendd/spendd.conf") and
         CONFIG in machine.run("cat", "/etc/spendd/spendd.conf"), "the configuration is the operator's")
    conserved(machine, [path])
    install(machine, NEW)
    ready(machine, "upgrade again")
    say("kill -9 of the supervisor, upgrade, rollback and upgrade again, under load")
    return path


def credentials_and_watchdog(machine):
    for name, text in (("redis-url", "redis://127.0.0.1:6379/0"), ("database-url", "postgresql:///spendd")):
        machine.root.write(f"etc/spendd/{name}", text + "\n", 0o600)  # root's alone: systemd reads it for us
    machine.root.write("etc/spendd/spendd.conf", CONFIG.replace("redis://127.0.0.1:6379/0", "credential:redis-url").replace(
        "postgresql:///spendd", "credential:database-url"), 0o640)
    os.makedirs(machine.root.inside("etc/systemd/system/spendd.service.d"))
    machine.root.write("etc/systemd/system/spendd.service.d/here.conf", CREDENTIALS)
    machine.run("systemctl", "daemon-reload")
    machine.run("systemctl", "restart", "spendd")
    flushing(machine)
    before = main_pid(machine)
    machine.run("sh", "-c", f"kill -STOP {before}")
    wait_until(lambda: main_pid(machine) not in (0, before), 60, "the watchdog", [machine], look_s=0.2)
    ready(machine, "watchdog")
    flushing(machine)
    need("watchdog" in machine.journal().lower(), "the journal names the watchdog")
    say("credentials of systemd; a stopped supervisor was replaced by the watchdog")


def socket_unit(machine):
    """Nobody is refused while spendd is restarted: the socket is systemd's."""
    machine.run("systemctl", "stop", "spendd")
    machine.run("systemctl", "enable", "--now", "spendd.socket")
    machine.run("systemctl", "start", "spendd")
    need("socket_taken" in machine.journal(), "the socket is taken from systemd")
    load = Load(machine, "socket", ENDLESS, 2).reach(600)
    machine.run("systemctl", "restart", "spendd")
    need(state(machine, "spendd.socket") == "active" and
         "socket" in machine.run("stat", "-c", "%F", "/run/spendd/ingest.sock"), "the socket stays")
    path = load.reach(load.acked() + 600).end()
    machine.run("systemctl", "stop", "spendd")
    start = Load(machine, "activated", 200, 3)
    wait_until(lambda: state(machine) == "active", 60, "a connection to start spendd", [machine], look_s=0.1)
    return [path, start.wait()]


def remove_and_purge(machine, paths):
    """Events that PostgreSQL does not have are kept by a removal, and counted after an install."""
    machine.run("systemctl", "stop", "postgresql")
    kept = Load(machine, "kept", 400, 4).wait()
    said = machine.run("sh", "-c", "DEBIAN_FRONTEND=noninteractive apt-get -qy remove spendd")
    need(re.search(r"/var/lib/spendd/spool is kept: it has \d+ segments", said), f"a removal says what it keeps:\n{said}")
    need(state(machine) != "active" and state(machine, "spendd.socket") != "active", "it does not run any more")
    need("spendd" not in machine.ask("pgrep", "-af", "^spendd"), "no process is left")
    machine.run("systemctl", "start", "postgresql")
    install(machine, NEW)
    ready(machine, "installed again")
    flushing(machine)
    conserved(machine, [*paths, kept])
    need("peration not permitted" not in machine.journal() and "ermission denied" not in machine.journal(),
         f"something was refused by the sandbox:\n{machine.journal()[-3000:]}")
    machine.run("systemctl", "stop", "postgresql")
    Load(machine, "lost", 200, 5).wait()
    said = machine.run("sh", "-c", "DEBIAN_FRONTEND=noninteractive apt-get -qy purge spendd")
    need(re.search(r"removing /var/lib/spendd/spool with \d+ segments", said), f"a purge says what it removes:\n{said}")
    for path in ("/var/lib/spendd", "/run/spendd", "/etc/spendd/spendd.conf", "/usr/libexec/spendd"):
        need(not os.path.exists(machine.root.inside(path.lstrip("/"))) or path == "/run/spendd", f"{path} is left")
    need("No such file" in machine.ask("ls", "-d", "/run/spendd"), "/run/spendd is left")
    say("remove keeps the spool and says so, an install counts it, purge removes it and says so")


def live(suite, made):
    machine = Machine(machine_root(suite, made))
    try:
        machine.boot()
        newcomer(machine)
        configure(machine)
        paths = [upgrade_and_back(machine)]
        credentials_and_watchdog(machine)
        paths += socket_unit(machine)
        remove_and_purge(machine, paths)
    except (Failed, WaitFailed, subprocess.SubprocessError):
        if machine.leader:
            say(machine.tail(25))
        raise
    finally:
        machine.close()
        if not os.environ.get("KEEP"):
            machine.root.remove()


# --- rpm -------------------------------------------------------------------------------------------------
def rpm():
    """Built with --nodeps here: files, requirements and scripts as they should be; its programs run."""
    if shutil.which("rpmbuild") is None or shutil.which("rpmlint") is None:
        say("SKIPPED rpm: no rpmbuild or rpmlint here")
        return
    run(["packaging/package.sh", "rpm"], "rpmbuild", cwd=ROOT, env={**os.environ, "VERSION": NEW, "OUT": OUT})
    binary = os.path.join(OUT, f"spendd-{NEW}-1.{os.uname().machine}.rpm")
    said = run(["rpmlint", "-r", os.path.join(ROOT, "packaging/rpm/spendd.rpmlintrc"),
                *(os.path.join(OUT, name) for name in sorted(os.listdir(OUT)) if name.endswith(".rpm"))], "rpmlint")
    need("0 errors, 0 warnings" in said, said)
    need(re.search(r"^-rw-r-----.* root +spendd .*/etc/spendd/spendd.conf$", run(["rpm", "-qplv", binary], "files"), re.M),
         "mode and group of the configuration")
    need("/etc/spendd/spendd.conf" in run(["rpm", "-qpc", binary], "configuration files"), "the configuration is %config")
    need({"libzmq.so.5", "libconfig.so", "libpq.so.5", "systemd"} <=
         {re.sub(r"(\.so)\.\d+\(.*|\(.*", r"\1", line) if "config" in line else re.sub(r"\(.*", "", line)
          for line in run(["rpm", "-qp", "--requires", binary], "requirements").split("\n")}, "requirements")
    scripts = run(["rpm", "-qp", "--scripts", binary], "scripts")
    for words in ("install-system-units spendd.service spendd.socket", "remove-system-units spendd.service spendd.socket",
                  "mark-restart-system-units spendd.service", "is kept"):
        need(words in scripts, f"the scripts lack: {words}\n{scripts}")
    root = tempfile.mkdtemp(prefix="spendd-rpm-", dir="/var/tmp")
    try:
        run(["sh", "-c", f"rpm2cpio {binary} | cpio -idm --quiet"], "unpacking the rpm", cwd=root)
        copy_libraries(root)
        for words in (["/usr/bin/spendd", "--version"], ["/usr/bin/spendd", "--config", "/etc/spendd/spendd.conf", "--check"],
                      ["/usr/bin/spendctl", "--help"]):
            run(["chroot", root, *words], " ".join(words))
        need(NEW in run(["chroot", root, "/usr/bin/spendd", "--version"], "version"), "the version")
        for name in os.listdir(os.path.join(root, "usr/libexec/spendd")):
            done = subprocess.run(["chroot", root, f"/usr/libexec/spendd/{name}"], capture_output=True, text=True, timeout=30)
            need("error while loading" not in done.stderr and done.returncode in (2, 75, 78, 1, 0),
                 f"{name}: exit {done.returncode} {done.stderr}")
        for page in os.listdir(os.path.join(root, "usr/share/man/man1")):
            need(page.endswith(".gz"), page)
    finally:
        shutil.rmtree(root)
    say("rpm: rpmlint clean, files, requirements and scripts as they should be, its programs run in an empty root")


def copy_libraries(root):
    """The libraries of this machine: what an rpm's requirements would bring."""
    programs = [os.path.join(here, name) for room in ("usr/bin", "usr/libexec/spendd")
                for here, _, names in os.walk(os.path.join(root, room)) for name in names]
    paths = set(re.findall(r"(/\S+) \(0x", run(["ldd", *programs], "ldd")))
    for path in paths:
        to = os.path.join(root, path.lstrip("/"))
        os.makedirs(os.path.dirname(to), exist_ok=True)
        shutil.copy(path, to)


# --- kubernetes ------------------------------------------------------------------------------------------
def kubernetes():
    """The manifests, decoded strictly as the published types."""
    here = os.path.join(HERE, "kubernetes")
    go = shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")
    if go is None:
        say("SKIPPED kubernetes: no go here")
        return
    try:
        run([go, "mod", "download"], "go mod download", 180, cwd=here)
    except Failed as failed:
        say(f"SKIPPED kubernetes: the published types cannot be fetched ({str(failed).splitlines()[0]})")
        return
    manifests = [os.path.join(ROOT, "packaging/kubernetes", name)
                 for name in sorted(os.listdir(os.path.join(ROOT, "packaging/kubernetes")))]
    run([go, "run", ".", *manifests], "manifests", 300, cwd=here)
    with tempfile.TemporaryDirectory() as wrong:
        path = os.path.join(wrong, "wrong.yaml")
        with open(manifests[-1], encoding="utf-8") as good, open(path, "w", encoding="utf-8") as file:
            file.write(good.read().replace("readinessProbe:", "readynessProbe:", 1))
        try:
            run([go, "run", ".", path], "a manifest with a typing error", 300, cwd=here)
        except Failed as failed:
            need("readynessProbe" in str(failed), str(failed))
        else:
            raise Failed("a typing error in a manifest was not seen")
    say(f"kubernetes: {len(manifests)} manifests decode strictly as the published types")


# --- all of it -------------------------------------------------------------------------------------------
def cannot():
    """Why this cannot be tried here, or nothing."""
    if os.geteuid() != 0:
        return "not root"
    for program in ("debootstrap", "systemd-nspawn", "nsenter", "lintian"):
        if shutil.which(program) is None:
            return f"no {program} here (packaging/install-deps.sh test-packages)"
    try:
        run(["unshare", "-m", "-p", "-f", "-n", "true"], "namespaces", 20)
        run(["apt-get", "-q", "download", "--print-uris", "base-files"], "apt", 30)
    except Failed as failed:
        return str(failed).splitlines()[0]
    return "" if reachable() else f"{MIRROR} cannot be reached"


def reachable():
    from urllib import request

    try:
        with request.urlopen(f"{MIRROR}/dists/bookworm/InRelease", timeout=15) as answer:
            return answer.status == 200
    except OSError:
        return False


def main(suites):
    why = cannot()
    if why:
        say(f"SKIPPED: {why}")
        return 0
    os.makedirs(OUT, exist_ok=True)
    for suite in suites or SUITES:
        began = time.monotonic()
        try:
            made = os.path.join(OUT, suite)
            if not os.environ.get("REUSE") or not os.path.isdir(made):
                build(suite)
            lint(os.path.join(made, NEW))
            try:
                live(suite, made)
            except NoMachine as why:
                say(f"{suite}: SKIPPED the machine: no systemd can be booted here: {why}")
            container.prove(suite, debs(os.path.join(made, NEW)))
        except (Failed, WaitFailed) as failed:
            say(f"{suite}: FAILED: {failed}")
            return 1
        say(f"{suite}: ok, {time.monotonic() - began:.0f} s")
    try:
        kubernetes()
        rpm()
    except Failed as failed:
        say(f"FAILED: {failed}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
