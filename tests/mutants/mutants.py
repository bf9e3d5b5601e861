"""Custody broken on purpose: every mutant must be caught by its test, for the right reason.

  mutants.py [NAME...]
A mutant is the tree compiled with MUTANT_<NAME>: a copy of build/release in which only the objects that
mention that word are compiled again.  It is caught when its test fails AND the failure says what must be
broken; a test that fails for another reason (a crash, a missing program) catches nothing.  First the same
tests must pass on the build that is not broken.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests"))
from lib.waiting import patient  # noqa: E402

RELEASE = os.path.join(ROOT, "build", "release")
TEST_SECONDS = 150  # of a machine that has nothing else to do
CUSTODY = "tests/mutants/test_custody.py::"

# name -> (test, what the failure must say)
MUTANTS = {
    "ACK_BEFORE_SYNC": ("tests/fault/test_bounds.py::test_no_ack_before_a_slow_disk_has_it", r"an acknowledgement after 0\.\d+ s"),
    "DUP_ACK_EARLY": ("tests/fault/test_bounds.py::test_no_ack_before_a_slow_disk_has_it", r"before its first copy was durable"),
    "NAK_KEEPS_ID": (CUSTODY + "test_a_refused_event_may_come_again", r"taken for a duplicate"),
    "NO_TORN_CUT": (CUSTODY + "test_a_torn_tail_takes_no_record_with_it", r"went with the torn tail"),
    "DELETE_ON_PUSH": (CUSTODY + "test_a_pushed_segment_stays", r"its segment is gone"),
    "NO_REPUSH": (CUSTODY + "test_what_redis_lost_is_pushed_again", r"in vain for the batch to be pushed again"),
    "REMOVE_BY_COUNT": (CUSTODY + "test_removal_is_by_identity", r"removed what nobody named"),
    "LEDGER_OUTSIDE": (CUSTODY + "test_ledger_and_rows_appear_together", r"rows without their ledger"),
    "NO_EVENT_CHECK": ("tests/fault/test_retries.py::test_after_the_dedupe_window", r"must be"),
    "PUBLISH_BEFORE_COMMIT": (CUSTODY + "test_published_is_committed", r"published and not committed"),
    "CLAIM_DELETED_EARLY": (CUSTODY + "test_a_claim_stays_until_it_is_committed", r"the claim is gone"),
    "CLAIM_WITHOUT_ROW": (CUSTODY + "test_a_claim_has_its_row", r"counted, and no row says so"),
    "GIVE_BACK_UNMARKED": (CUSTODY + "test_a_give_back_is_marked_first", r"given back, and no mark says so"),
    "ASSUME_COMMITTED": (CUSTODY + "test_a_commit_without_an_answer_is_no_commit", r"published and not committed"),
}


def planted():
    """Names that stand in the sources, and names that the README's table has."""
    found = subprocess.run(["git", "grep", "-ohwE", "MUTANT_[A-Z_]+", "--", "*.c", "*.h", "*.def"], cwd=ROOT,
                           capture_output=True, text=True, check=True).stdout.split()
    with open(os.path.join(ROOT, "tests/mutants/README.md"), encoding="utf-8") as paper:
        rows = re.findall(r"^\| ([A-Z_]+) \|", paper.read(), re.M)
    return {name.removeprefix("MUTANT_") for name in found}, set(rows)


def sources_of(name):
    found = subprocess.run(["git", "grep", "-lwE", f"MUTANT_{name}", "--", "*.c", "*.h", "*.def"], cwd=ROOT,
                           capture_output=True, text=True, check=False).stdout.split()
    if not found:
        raise RuntimeError(f"MUTANT_{name} stands nowhere in the tree")
    return found


def touched_objects(name):
    """Objects of the release build whose dependency files name one of those sources."""
    words = [re.compile(rf"(^|\s){re.escape(path)}(\s|\\|:|$)", re.M) for path in sources_of(name)]
    for directory, _, files in os.walk(RELEASE):
        for file in files:
            if file.endswith(".d"):
                with open(os.path.join(directory, file), encoding="utf-8") as depends:
                    text = depends.read()
                if any(word.search(text) for word in words):
                    yield os.path.relpath(os.path.join(directory, file[:-2] + ".o"), RELEASE)


def build(name, target):
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", RELEASE, target], check=True)
    objects = [os.path.join(target, path) for path in touched_objects(name)]
    if not objects:
        raise RuntimeError(f"MUTANT_{name}: no object depends on it; is build/release whole?")
    for path in objects:
        if os.path.exists(path):
            os.unlink(path)
    done = subprocess.run(["make", "-s", f"MUTANT={name}", f"BUILD=build/mutant-{name}", "all"], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{name} does not build:\n{done.stdout}{done.stderr}")


def run(test, directory, mutant=""):
    environment = {**os.environ, "SPENDD_BUILD_DIR": os.path.relpath(directory, ROOT), "SPENDD_MUTANT": mutant,
                   "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    limit = patient(TEST_SECONDS)
    try:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", test], cwd=ROOT,
                              env=environment, capture_output=True, text=True, check=False, timeout=limit)
        return done.returncode, done.stdout
    except subprocess.TimeoutExpired as late:
        return 2, f"took longer than {limit:.0f} s\n{(late.stdout or b'').decode()}"


def judge(name):
    test, reason = MUTANTS[name]
    begin, directory = time.monotonic(), os.path.join(ROOT, "build", f"mutant-{name}")
    try:
        build(name, directory)
        code, output = run(test, directory, name)
    except (RuntimeError, subprocess.CalledProcessError) as broken:
        code, output = 2, str(broken)
    why = [line for line in output.splitlines() if line.startswith("E ") and re.search(reason, line)]
    verdict = "SURVIVED" if code == 0 else "caught" if code == 1 and why else "FAILED FOR ANOTHER REASON"
    shutil.rmtree(directory, ignore_errors=True)
    print(f"{verdict:<9} {name:<22} {test.split('::')[-1]:<46} {time.monotonic() - begin:5.1f} s  "
          f"{why[0][1:].strip()[:90] if why else ''}", flush=True)
    if verdict != "caught":
        print(output[-3000:], flush=True)
    return verdict == "caught"


def main(names):
    names, begin = names or list(MUTANTS), time.monotonic()
    for where, there in zip(("the sources", "tests/mutants/README.md"), planted()):
        if there != set(MUTANTS):
            print(f"{where} and the table of mutants differ: {', '.join(sorted(there ^ set(MUTANTS)))}")
            return 1
    tests = sorted({MUTANTS[name][0] for name in names})
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for test, (code, output) in zip(tests, pool.map(lambda test: run(test, RELEASE), tests)):
            if code:
                print(f"the build that is not broken fails {test}:\n{output[-3000:]}")
                return 1
        caught = list(pool.map(judge, names))
    print(f"--- {sum(caught)} of {len(names)} mutants caught, {time.monotonic() - begin:.0f} s")
    return 0 if all(caught) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
