"""CURVE: who may send over tcp, who may not, and what a change of the directory of keys does - live.

Each case with events of those who may on their way, and the books compared afterwards.
"""
import json
import os
import shutil
import subprocess

import pytest
import zmq

from lib import conservation
from lib.curve import Curve, Keys
from lib.daemon import WORKERS
from lib.events import Generator, batches
from lib.producer import Outcome, Producer
from lib.servers import free_tcp_port
from lib.waiting import patient, wait_until


def stream(name, count=10**9, shape=5):
    return batches(Generator(92, name).events(count), shape)


@pytest.fixture
def curve(place):
    return Curve(place.sub("k"))


@pytest.fixture
def guarded(stack, curve):
    """An instance that is reached from other machines, with one client that is allowed.  (instance, endpoint, keys)"""
    port, keys = free_tcp_port(), curve.client("gateway")
    instance = stack.spendd(ingest__acked=f"tcp://*:{port}", ingest__curve_certificate=curve.certificate,
                            ingest__curve_clients=curve.clients)
    return instance.start(ready=WORKERS), f"tcp://127.0.0.1:{port}", keys


def refused(instance):
    return instance.metric("clients_refused_total")


@pytest.mark.parametrize("who", ["unknown", "plain", "another-server"])
def test_only_the_allowed_are_served(stack, curve, guarded, who):
    instance, endpoint, keys = guarded
    others = {"unknown": curve.stranger(), "plain": None,
              "another-server": Keys(keys.public, keys.secret, zmq.curve_keypair()[0])}
    stranger = Producer(endpoint, stream(who), window=4, resend_s=0.5, keys=others[who]).start()
    producer = Producer(endpoint, stream("allowed"), keys=keys, rate=100).start()
    wait_until(lambda: producer.outcome.messages > 40, 30, "answers", [producer, instance])
    if who == "unknown":
        wait_until(lambda: refused(instance), 20, "a refusal to be counted", [instance])
        line = wait_until(lambda: next((line for line in instance.log_text().splitlines() if "client_refused" in line), None), 20,
                          "the log to say so", [instance])
        assert others[who].public.decode() in line, line
    producer.finish_source()
    producer.wait(30, stack.logs)
    stranger.stop()
    assert not stranger.outcome.messages and not stranger.outcome.refused
    report = conservation.assert_conserved(stack.postgres, producer.outcome, logs=stack.logs)
    assert report.figures["counted"] == len(producer.outcome.acked)


def test_a_directory_without_keys_lets_nobody_in(stack, curve, guarded):
    instance, endpoint, keys = guarded
    os.unlink(curve.file("gateway"))
    producer = Producer(endpoint, stream("nobody", 50), keys=keys, resend_s=0.5).start()
    wait_until(lambda: refused(instance), 20, "a refusal", [instance])
    assert producer.outcome.messages == 0
    shutil.rmtree(curve.clients)  # no directory is nobody as well
    before = refused(instance)
    wait_until(lambda: refused(instance) > before, 20, "another refusal", [instance])
    assert producer.outcome.messages == 0
    os.mkdir(curve.clients)
    shutil.copy(os.path.join(curve.dir, "gateway.key"), curve.file("gateway"))  # the whole pair serves too
    conservation.assert_conserved(stack.postgres, producer.wait(30, stack.logs), logs=stack.logs)


def test_a_client_that_is_added_is_served_without_a_reload(stack, curve, guarded):
    """Its first connection is refused, then its key appears in the directory: seen at the next attempt."""
    instance, endpoint, keys = guarded
    late = curve.client("late")
    os.rename(curve.file("late"), os.path.join(curve.dir, "aside"))
    first = Producer(endpoint, stream("first", 100), keys=keys).start().wait(30, stack.logs)
    producer = Producer(endpoint, stream("late", 100), first, keys=late, resend_s=0.5).start()
    wait_until(lambda: refused(instance), 20, "a refusal", [instance])
    os.rename(os.path.join(curve.dir, "aside"), curve.file("late"))
    conservation.assert_conserved(stack.postgres, producer.wait(30, stack.logs), logs=stack.logs)


def test_a_reload_reads_a_file_that_changed_in_its_place(stack, curve, guarded):
    """Written over without a change of the directory: the time of the directory does not tell, a reload does."""
    instance, endpoint, keys = guarded
    other = curve.client("other")
    text = open(curve.file("other"), encoding="ascii").read()
    os.unlink(curve.file("other"))
    os.utime(curve.clients, (1, 1))  # settled long ago
    outcome = Producer(endpoint, stream("before", 50), keys=keys).start().wait(30, stack.logs)
    with open(curve.file("gateway"), "w", encoding="ascii") as file:
        file.write(text)
    producer = Producer(endpoint, stream("other", 50), outcome, keys=other, resend_s=0.5).start()
    wait_until(lambda: refused(instance), 20, "a refusal", [instance])
    assert not producer.done()
    assert instance.ask("reload")[0] == 200
    conservation.assert_conserved(stack.postgres, producer.wait(30, stack.logs), logs=stack.logs)


def test_a_revoked_client_is_not_served_over_its_old_connection(stack, curve, guarded):
    """Its messages are dropped without an answer, so it keeps them; another one is served all the time; with its
    key back, what it kept is counted, over the same connection.  Both producers may reach either event once."""
    instance, endpoint, keys = guarded
    other = curve.client("other")
    outcome = Outcome()
    revoked = Producer(endpoint, stream("revoked"), keys=keys, window=4, resend_s=0.3, rate=60).start()
    stays = Producer(endpoint, stream("stays"), outcome, keys=other, rate=60).start()
    wait_until(lambda: revoked.outcome.messages > 10 and stays.outcome.messages > 10, 30, "answers", [revoked, instance])
    pid = instance.pid("aggregator")
    os.rename(curve.file("gateway"), os.path.join(curve.dir, "aside"))
    assert instance.ask("reload")[0] == 200
    # Each message that is in flight has been dropped several times: no answer of before is under way any more.
    wait_until(lambda: instance.metric("messages_revoked_total") >= 20, 30, "messages to be dropped", [instance])
    def others_answers():
        count = stays.outcome.messages
        wait_until(lambda: stays.outcome.messages > count + 40, 30, "the other one", [stays, instance])

    others_answers()  # a group that was with the disk when the key went is answered before these
    answered = revoked.outcome.messages
    others_answers()
    assert revoked.outcome.messages == answered and not revoked.outcome.refused
    assert "client_revoked" in instance.log_text() and refused(instance) == 0
    os.rename(os.path.join(curve.dir, "aside"), curve.file("gateway"))
    assert instance.ask("reload")[0] == 200
    wait_until(lambda: revoked.outcome.messages > answered + 10, 30, "answers again", [revoked, instance])
    for producer in (revoked, stays):
        producer.finish_source()
        producer.wait(30, stack.logs)
    outcome.sent.update(revoked.outcome.sent)
    outcome.acked.update(revoked.outcome.acked)
    assert instance.pid("aggregator") == pid
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_a_file_that_is_no_key_costs_nobody_else(stack, curve, guarded):
    instance, endpoint, keys = guarded
    for name, text in (("garbage.pub", "x" * 10000), ("half.pub", 'public-key = "short"'), ("empty", ""), (".hidden", "?")):
        with open(os.path.join(curve.clients, name), "w", encoding="ascii") as file:
            file.write(text)
    os.mkdir(os.path.join(curve.clients, "directory"))
    assert instance.ask("reload")[0] == 200
    outcome = Producer(endpoint, stream("spared", 100), keys=keys).start().wait(30, stack.logs)
    assert "clients_unreadable" in instance.log_text()
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_several_aggregators_ask_the_same_directory(stack, curve, guarded):
    instance, endpoint, keys = guarded
    instance.stop()
    instance.write_config(aggregator__processes=2)
    instance.start(ready=WORKERS)
    stranger = Producer(endpoint, stream("strange"), window=4, resend_s=0.5, keys=curve.stranger()).start()
    outcome = Outcome()
    producers = [Producer(endpoint, stream(f"two{n}", 60), outcome, keys=keys).start() for n in range(4)]
    for producer in producers:
        producer.wait(30, stack.logs)
    stranger.stop()
    assert not stranger.outcome.messages
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)


def test_loopback_needs_no_curve(stack):
    port = free_tcp_port()
    instance = stack.spendd(ingest__acked=f"tcp://localhost:{port}").start(ready=WORKERS)
    outcome = Producer(f"tcp://127.0.0.1:{port}", stream("loopback", 50)).start().wait(30, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
    assert instance.stop() == 0


# --- files ------------------------------------------------------------------------------------------------
def checked(instance):
    done = subprocess.run([instance.program(), "--config", instance.config, "--check"], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("change,said", [
    (lambda curve: os.chmod(curve.certificate, 0o640), "mode 0640"),
    (lambda curve: os.unlink(curve.certificate), "No such file"),
    (lambda curve: shutil.copy(os.path.join(curve.dir, "server.pub"), curve.certificate), "has no secret key"),
    (lambda curve: shutil.rmtree(curve.clients), "clients' public keys"),
], ids=["mode", "missing", "public", "no-directory"])
def test_a_certificate_that_cannot_serve_is_refused(stack, curve, guarded, change, said):
    """By --check, by a start, and by a reload, which changes nothing: who is connected is served on."""
    instance, endpoint, keys = guarded
    producer = Producer(endpoint, stream("served"), keys=keys, rate=60).start()
    wait_until(lambda: producer.outcome.messages > 5, 30, "answers", [producer, instance])
    mode = change(curve)
    if said == "has no secret key":
        os.chmod(curve.certificate, 0o600)
    code, text = checked(instance)
    assert code == 78 and said in text, (mode, text)
    assert instance.ask("reload")[0] == 409
    count = producer.outcome.messages
    wait_until(lambda: producer.outcome.messages > count + 10, 30, "answers", [producer, instance])
    producer.finish_source()
    producer.wait(30, stack.logs)
    conservation.assert_conserved(stack.postgres, producer.outcome, logs=stack.logs)
    instance.stop()
    instance.start(ready=())
    assert instance.process.wait(patient(20)) == 78


def test_keys_are_made_once(curve):
    """A key that somebody relies on is not written over."""
    curve.client("gateway")
    before = open(curve.certificate, encoding="ascii").read()
    for words in ((), ("gateway",), ("../x",), (".x",)):
        with pytest.raises(subprocess.CalledProcessError) as failed:
            curve.make(*words)
        assert failed.value.returncode == 75, failed.value.stderr
    assert open(curve.certificate, encoding="ascii").read() == before
    assert os.stat(curve.certificate).st_mode & 0o777 == 0o600
    assert os.stat(os.path.join(curve.dir, "gateway.key")).st_mode & 0o777 == 0o600
    assert "secret" not in open(curve.file("gateway"), encoding="ascii").read()


# --- the admin socket ------------------------------------------------------------------------------------------
def test_the_admin_socket_over_tcp(stack, curve):
    """CURVE on loopback too: an operator with a key commands, a stranger and a plain client get no answer."""
    port, keys = free_tcp_port(), curve.client("operator")
    endpoint = f"tcp://127.0.0.1:{port}"
    instance = stack.spendd(admin__listen=endpoint)
    assert checked(instance)[0] == 78
    instance.write_config(admin__curve_certificate=curve.certificate, admin__curve_clients=curve.clients)
    assert checked(instance)[0] == 0, checked(instance)
    instance.start(ready=())
    words = ["--socket", endpoint, "--json"]
    proof = ["--keys", os.path.join(curve.dir, "operator.key"), "--server-key", os.path.join(curve.dir, "server.pub")]

    def ctl(*more):
        return subprocess.run([instance.program("spendctl"), *words, *more], capture_output=True, text=True, check=False)

    wait_until(lambda: ctl(*proof, "version").returncode == 0, 30, "an answer to the operator", [instance])
    answer = json.loads(ctl(*proof, "status").stdout)
    assert answer["workers"]
    done = ctl("--timeout", "3", "status")
    assert done.returncode == 3 and "needs CURVE" in done.stderr
    os.rename(curve.file("operator"), os.path.join(curve.dir, "aside"))
    done = ctl(*proof, "--timeout", "3", "status")
    assert done.returncode == 3 and "not allowed" in done.stderr
    context = zmq.Context()
    for proof_of in (None, curve.stranger()):
        socket = context.socket(zmq.REQ)
        if proof_of is not None:
            proof_of.into(socket)
        socket.connect(endpoint)
        socket.send_multipart([b"spendctl/1", b"status"])
        assert not socket.poll(500)
    context.destroy(linger=0)
    os.rename(os.path.join(curve.dir, "aside"), curve.file("operator"))
    assert ctl(*proof, "version").returncode == 0
    outcome = Producer(instance.ingest, stream("admin", 50)).start().wait(30, stack.logs)
    conservation.assert_conserved(stack.postgres, outcome, logs=stack.logs)
