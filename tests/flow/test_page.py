"""The page at / of the status address: its parts, its figures, and how it looks in a real browser.

With PAGE_SHOTS=directory the browser leaves pictures there, to be looked at."""
import os
import re

import pytest

from lib import browser
from lib.daemon import WORKERS
from lib.events import Generator
from lib.producer import Asker
from lib.waiting import SANITIZED, wait_until
from lib.web import get, status_port

PARTS = {"/": "text/html", "/page.css": "text/css", "/page.js": "text/javascript", "/page.svg": "image/svg+xml"}
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def send(instance, count, seed=1):
    with Asker(instance.ingest) as asker:
        kind, answer = asker.events(list(Generator(seed=seed).events(count)))
    assert (kind, answer["accepted"]) == ("A1", count), answer


def shot(page, name):
    if os.environ.get("PAGE_SHOTS"):
        page.shot(os.path.join(os.environ["PAGE_SHOTS"], name + ".png"))


def test_parts_of_the_page(stack):
    port, settings = status_port()
    instance = stack.spendd(**settings).start(ready=WORKERS + ("gateway",))
    for path, kind in PARTS.items():
        answer = get(port, path)
        assert answer.status == 200 and answer.headers["Content-Type"].startswith(kind), path
        policy = answer.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        name = "page.html" if path == "/" else path[1:]
        with open(os.path.join(ROOT, "workers/gateway/page", name), encoding="utf-8") as file:
            assert answer.text == file.read(), f"{path} is not the file that it was made of"
    html, script = get(port, "/").text, get(port, "/page.js").text
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=|https?://", html)
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function", script)
    # Off, live, and on again.
    instance.write_config(http__page=False)
    assert instance.ask("reload")[0] == 200
    wait_until(lambda: get(port, "/").status == 404, 20, "the page to go", stack.logs)
    assert [get(port, path).status for path in ("/page.js", "/status.json", "/metrics")] == [404, 404, 200]


def test_status_document_and_token(stack):
    port, settings = status_port()
    instance = stack.spendd(http__status_token="very-secret-word-1", aggregator__processes=2, **settings)
    instance.start(ready=WORKERS + ("gateway",))
    send(instance, 40)
    wait_until(lambda: instance.metric("events_counted_total") == 40, 30, "40 counted", stack.logs)
    assert get(port, "/status.json").status == 401 and get(port, "/").status == 200

    def status():
        answer = get(port, "/status.json", Authorization="Bearer very-secret-word-1")
        assert answer.status == 200 and "no-store" in answer.headers["Cache-Control"]
        return answer.json

    wait_until(lambda: status()["counters"]["counted"] == 40 and status()["lag_ms"] == 0 and status()["health"], 20,
               "the figures", stack.logs)
    now = status()
    assert now["counters"]["accepted"] == 40 and now["supervisor"] is True and now["ready"] is True
    assert [lane["lane"] for lane in now["lanes"]] == [0, 1]
    assert sum(now["times"]["event_commit_seconds"]["cells"]) == 40
    assert {row["name"] for row in now["workers"]} >= set(WORKERS) | {"gateway"}
    assert {row["store"] for row in now["health"]["probes"]} == {"database", "redis"}


@pytest.fixture
def page():
    if browser.program() is None:
        pytest.skip("no Chromium: Debian's package chromium")
    try:
        made = browser.Browser()
    except (browser.BrowserGone, OSError) as why:
        pytest.skip(f"Chromium does not run here: {why}")
    yield made
    made.close()


@pytest.mark.skipif(SANITIZED, reason="what the browser sees is the same in every build")
def test_in_a_browser(stack, page):
    port, settings = status_port()
    instance = stack.spendd(instance="<b>wall</b>", **settings).start(ready=WORKERS + ("gateway",))
    send(instance, 50)
    page.open(f"http://127.0.0.1:{port}/")
    wait_until(lambda: page.text("#link") == "live", 30, "the page to be live", stack.logs)
    wait_until(lambda: "50 by this instance" in page.text("#tiles"), 30, "50 counted", stack.logs)
    # What comes later is shown without a reload; a name is text, whatever is in it.
    send(instance, 25, seed=2)
    wait_until(lambda: "75 by this instance" in page.text("#tiles"), 30, "75 counted", stack.logs)
    assert page.text("#instance") == "<b>wall</b>"
    wait_until(lambda: page.text("#verdict") == "ready", 30, "ready", stack.logs)
    wait_until(lambda: page.js("document.querySelectorAll('#workers td.good').length") >= len(WORKERS), 30,
               "workers to be shown as ready", stack.logs)
    wait_until(lambda: page.js("document.querySelectorAll('#pipeline li.good').length") == 6, 30,
               "the whole pipeline to be good", stack.logs)
    wait_until(lambda: page.text("#stores").count("answers") == 2, 30, "the stores", stack.logs)
    for scheme in ("dark", "light"):
        page.scheme(scheme)
        shot(page, scheme)
    grounds = []
    for scheme in ("dark", "light"):
        page.scheme(scheme)
        grounds.append(page.js("getComputedStyle(document.body).backgroundColor"))
    assert grounds[0] != grounds[1]
    assert page.complaints() == [], "console, network and policy have nothing to say"
    assert {url.rsplit("/", 1)[1] for url in page.fetched()} == {"", "page.css", "page.js", "page.svg", "status.json"}
    # The policy is in force: what is inline does not run.
    page.js("(() => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
            "document.body.append(s); })()")
    assert page.js("window.ran === undefined")
    # The database goes, and then everything.
    stack.postgres.stop()
    wait_until(lambda: page.text("#verdict") == "degraded" and "gate is closed" in page.text("#why"), 60,
               "the page to say that the database is away", stack.logs)
    shot(page, "degraded")
    instance.kill_all()
    wait_until(lambda: page.js("document.body.dataset.link") in ("stale", "lost"), 60, "stale")
    page.js("state.heard -= 30000")  # half a minute later
    wait_until(lambda: page.text("#link").startswith("lost") and page.text("#verdict") == "unknown", 90, "lost")
    shot(page, "lost")
