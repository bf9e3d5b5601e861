"""Chromium without a window, spoken to over its debugging pipe (fd 3 to it, fd 4 from it): JSON, each ended by NUL."""
import base64
import fcntl
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from .waiting import patient, wait_until

PROGRAMS = ("chromium", "chromium-browser", "headless_shell", "google-chrome")


def program():
    """The browser, or None."""
    return next((path for name in PROGRAMS if (path := shutil.which(name))), None)


class BrowserGone(Exception):
    pass


class Browser:
    def __init__(self, width=1600, height=1000):
        to_read, self._to = os.pipe()
        self._from, to_write = os.pipe()
        self.home = tempfile.TemporaryDirectory(prefix="spendd-browser-")

        def descriptors():
            low, high = (fcntl.fcntl(fd, fcntl.F_DUPFD, 100) for fd in (to_read, to_write))
            os.dup2(low, 3)
            os.dup2(high, 4)

        self.process = subprocess.Popen(
            [program(), "--headless=new", "--no-sandbox",
             "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
             "--disable-background-networking", "--disable-component-update", "--disable-sync", "--mute-audio",
             "--no-proxy-server", "--hide-scrollbars", f"--user-data-dir={self.home.name}",
             f"--window-size={width},{height}", "--remote-debugging-pipe", "about:blank"],
            close_fds=False, preexec_fn=descriptors, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, "HOME": self.home.name}, start_new_session=True)
        os.close(to_read)
        os.close(to_write)
        self._number, self._rest, self._session = 0, b"", None
        self.events = []
        try:
            self._begin(width, height)
        except BaseException:
            self.close()
            raise

    def _begin(self, width, height):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def call(self, method, timeout_s=30, **params):
        self._number += 1
        number = self._number
        message = {"id": number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        deadline = time.monotonic() + patient(timeout_s)
        while True:
            answer = self._read(deadline - time.monotonic())
            if answer is None:
                raise BrowserGone(f"no answer to {method}")
            if answer.get("id") == number:
                if "error" in answer:
                    raise BrowserGone(f"{method}: {answer['error']}")
                return answer["result"]

    def _read(self, timeout_s):
        """The next message, which is kept if it is an event; None when none comes in time."""
        while b"\0" not in self._rest:
            if timeout_s <= 0 or not select.select([self._from], [], [], timeout_s)[0]:
                return None
            data = os.read(self._from, 1 << 20)
            if not data:
                raise BrowserGone("the browser has ended")
            self._rest += data
        text, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(text)
        if "method" in message:
            self.events.append(message)
        return message

    def open(self, url):
        """Returns when its scripts have run for the first time."""
        self.call("Page.navigate", url=url)
        wait_until(lambda: self.js("location.href !== 'about:blank' && document.readyState") == "complete", 30, f"{url} to be loaded")

    def js(self, expression):
        """The value of an expression in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def text(self, selector):
        return self.js(f"document.querySelector({json.dumps(selector)})?.innerText")

    def scheme(self, name):
        """dark or light, as the system would say."""
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": name}])

    def shot(self, path):
        """The whole page as a PNG."""
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        png = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(png))

    def complaints(self):
        """What the console, the network and the policy have said that is no good."""
        self.js("1")  # what was on its way is here then
        found = []
        for event in self.events:
            params = event["params"]
            if event["method"] == "Runtime.exceptionThrown":
                found.append(str(params["exceptionDetails"].get("exception", params["exceptionDetails"])))
            elif event["method"] == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
                found.append(str(params["args"]))
            elif event["method"] == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                found.append(f"{params['entry']['text']} {params['entry'].get('url', '')}")
        return found

    def fetched(self):
        """URLs that the page has asked for."""
        return [event["params"]["request"]["url"] for event in self.events if event["method"] == "Network.requestWillBeSent"]

    def close(self):
        if self.process.poll() is None:
            try:
                self._session = None
                self.call("Browser.close", timeout_s=5)
                self.process.wait(timeout=10)
            except (BrowserGone, OSError, subprocess.TimeoutExpired):  # it is killed then
                pass
        try:
            os.killpg(self.process.pid, 9)
        except ProcessLookupError:
            pass
        self.process.wait()
        os.close(self._to)
        os.close(self._from)
        self.home.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
