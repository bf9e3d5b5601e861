"""`make install` into DESTDIR, alone: what lies there runs, the units hold what they promise, and it goes again."""
import os
import random
import re
import shutil
import subprocess

import pytest

from lib import conservation
from lib.build import make
from lib.daemon import BUILD, WORKERS
from lib.events import Generator, batches
from lib.producer import Producer
from lib.servers import Place
from lib.wire import ROOT

# A sanitized build looks for leaks at its end, and may not look into a process that holds secrets.
LEAKS = {"ASAN_OPTIONS": "abort_on_error=1:detect_leaks=0"}
ANALYZE, ACTIVATE = "/usr/bin/systemd-analyze", "/usr/bin/systemd-socket-activate"
EXPOSURE_MAX = 2.0  # of `systemd-analyze security`


def stream(name, count):
    return batches(list(Generator(7, name).events(count)), random.Random(7))


def files(root):
    return sorted(os.path.relpath(os.path.join(here, name), root)
                  for here, _, names in os.walk(root) for name in names)


@pytest.fixture(scope="module")
def installed():
    """PREFIX is the place itself, so that the paths in the units lead somewhere."""
    place = Place()
    prefix = os.path.join(place.root, "usr")
    make("install", f"PREFIX={prefix}", f"sysconfdir={place.root}/etc")
    yield prefix
    place.close()


def test_destdir_alone(place):
    root = place.sub("d")
    make("install", f"DESTDIR={root}")
    there = files(root)
    for path in ("usr/local/bin/spendd", "usr/local/bin/spendctl", "etc/spendd/spendd.conf",
                 "usr/local/lib/systemd/system/spendd.service", "usr/local/lib/sysusers.d/spendd.conf",
                 "usr/local/share/man/man1/spendctl.1", *(f"usr/local/libexec/spendd/{name}" for name in WORKERS)):
        assert path in there, f"{path} is not among {there}"
    assert os.stat(os.path.join(root, "etc/spendd/spendd.conf")).st_mode & 0o777 == 0o640
    with open(os.path.join(root, "etc/spendd/spendd.conf"), "a", encoding="utf-8") as file:
        file.write("# mine\n")
    make("install", f"DESTDIR={root}")
    with open(os.path.join(root, "etc/spendd/spendd.conf"), encoding="utf-8") as file:
        assert file.read().endswith("# mine\n"), "an existing configuration stays"
    make("uninstall", f"DESTDIR={root}")
    assert files(root) == ["etc/spendd/spendd.conf"]
    make("install", f"DESTDIR={root}", "UNITS=")
    assert not [path for path in files(root) if "systemd" in path or ".d/" in path]


def test_what_was_installed_runs(stack, installed):
    instance = stack.spendd(build=installed).start(ready=WORKERS)
    outcome = Producer(instance.ingest, stream("installed", 100)).start().wait(30, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert instance.stop() == 0


def unit_of(installed, name="spendd.service"):
    with open(os.path.join(installed, "lib/systemd/system", name), encoding="utf-8") as file:
        return file.read()


def values(unit, name):
    return re.findall(rf"^{name}=(.*)$", unit, re.M)


@pytest.mark.skipif(not os.path.exists(ANALYZE), reason="without systemd-analyze")
def test_units_verify_without_a_word(installed):
    for name in ("spendd.service", "spendd.socket"):
        done = subprocess.run([ANALYZE, "verify", "--man=no", os.path.join(installed, "lib/systemd/system", name)],
                              capture_output=True, text=True, timeout=60)
        said = [line for line in done.stderr.splitlines() if "spendd" in line]
        assert not said and done.returncode == 0, done.stderr


@pytest.mark.skipif(not os.path.exists(ANALYZE), reason="without systemd-analyze")
def test_exposure(installed):
    done = subprocess.run([ANALYZE, "security", "--offline=true", "--no-pager",
                           os.path.join(installed, "lib/systemd/system/spendd.service")],
                          capture_output=True, text=True, timeout=60, check=True)
    level = float(re.search(r"exposure level for spendd.service: ([\d.]+)", done.stdout)[1])
    assert level < EXPOSURE_MAX, done.stdout


def test_unit_and_defaults_agree(installed):
    """More time to stop than the drain takes, descriptors for the most connections, the default's directories."""
    unit = unit_of(installed)
    with open(os.path.join(ROOT, "common/config/settings.def"), encoding="utf-8") as file:
        table = file.read()
    drain = int(re.search(r'"supervisor.drain_ms", (\d+)', table)[1])
    most = int(re.search(r'"ingest.max_connections", \d+, \d+, (\d+)', table)[1])
    assert int(values(unit, "TimeoutStopSec")[0]) * 1000 > drain + 6000
    assert int(values(unit, "LimitNOFILE")[0]) > most
    assert values(unit, "RuntimeDirectory") == values(unit, "StateDirectory") == ["spendd"]
    assert '"runtime_dir", "/run/spendd"' in table and '"spool.dir", "/var/lib/spendd/spool"' in table
    assert values(unit, "KillMode") == ["mixed"], "the supervisor drains its workers, in order"
    programs = {line.split()[0] for line in values(unit, "Exec[A-Z][A-Za-z]*")}
    assert programs == {f"{installed}/bin/spendd", "/bin/sh"}, "nothing that a small system may not have"
    socket = unit_of(installed, "spendd.socket")
    assert values(socket, "ListenStream") == ["/run/spendd/ingest.sock"]


@pytest.mark.skipif(not os.path.exists(ACTIVATE), reason="without systemd-socket-activate")
def test_the_socket_unit_activates(stack, installed):
    """By systemd's own tool, under the unit's name for the descriptor."""
    name = values(unit_of(installed, "spendd.socket"), "FileDescriptorName")[0]
    instance = stack.spendd(build=installed)
    path = os.path.join(instance.run, "ingest.sock")
    with open(instance.log, "ab") as log:
        instance.process = subprocess.Popen(
            [ACTIVATE, "-l", path, f"--fdname={name}", instance.program(), "--config", instance.config],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd="/", env={**os.environ, **LEAKS})
    instance._sessions.add(instance.process.pid)
    outcome = Producer(instance.ingest, stream("socket", 100)).start().wait(40, stack.logs)
    instance.wait_ready(*WORKERS)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert "socket_taken" in instance.log_text()
    assert instance.stop() == 0


def test_credentials(stack, installed):
    """systemd's LoadCredential=: a directory of files, whose place only the supervisor is told."""
    directory = stack.place.sub("c")
    for name, text in (("redis-url", stack.redis.url), ("database-url", stack.postgres.url())):
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text + "\n")
    instance = stack.spendd(redis__url="credential:redis-url", database__url="credential:database-url",
                            environment={"CREDENTIALS_DIRECTORY": directory}).start(ready=WORKERS)
    outcome = Producer(instance.ingest, stream("credential", 50)).start().wait(30, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert instance.stop() == 0
    shutil.rmtree(directory)
    instance.start(ready=())
    assert instance.process.wait(20) == 78
    assert f"{directory}/redis-url" in instance.log_text()


@pytest.mark.parametrize("path", ["packaging/kubernetes/sidecar.yaml", "packaging/kubernetes/statefulset.yaml",
                                  "packaging/kubernetes/gateway-waits.yaml", "packaging/container/compose.yaml"])
def test_settings_of_manifests(place, path):
    """Through the container's entrypoint, whose file spendd itself checks."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        found = dict(re.findall(r'\b(SPENDD_SET_\w+)(?:, value)?: "?([^"\n}]+)', file.read()))
    settings = {name: value.strip() for name, value in found.items()}
    directory = place.sub("e")
    done = subprocess.run(
        [os.path.join(ROOT, "packaging/container/entrypoint.sh"), "--check"], capture_output=True, text=True, timeout=30,
        env={**LEAKS, "PATH": f"{BUILD}/bin:/usr/sbin:/usr/bin:/sbin:/bin", "SPENDD_CONFIG": os.path.join(directory, "none"),
             "SPENDD_RUNTIME_DIR": directory, "SPENDD_REDIS_URL": "redis://:p@h:1/0", "DATABASE_URL": "postgresql://u:secret@h/d",
             "SPENDD_SET_http__tokens": "a-token-for-the-test", **settings})
    assert done.returncode == 0, done.stdout + done.stderr
    with open(os.path.join(directory, "made.conf"), encoding="utf-8") as file:
        made = file.read()
    assert "secret" not in made and made.count("env:SPENDD_DATABASE_URL") == 1
