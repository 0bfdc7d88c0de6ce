"""Chromium without a window, led through a pipe: pages are opened, scripts are run in them, messages are collected."""

import json
import os
import select
import shutil
import subprocess

PATIENCE = 60  # seconds
EXECUTABLE = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
OBSERVED = ("Runtime", "Log", "Network")  # domains of the protocol, of a page and of a worker
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--window-size=1200,900", "--remote-debugging-pipe",
)  # fmt: skip


class Browser:
    """One browser with one page.

    Args:
        profile: an empty folder.

    Attributes:
        complaints: what went to the console, and exceptions; requests: addresses that were asked for. Both of the page
            and of its workers.

    Source: the DevTools protocol: JSON with a zero byte at its end, read from descriptor 3 and written to 4.
    """

    def __init__(self, profile):
        self.complaints, self.requests, self.number, self.rest, self.session = [], [], 0, b"", None
        read_end, self.orders = os.pipe()
        self.answers, write_end = os.pipe()

        def descriptors():
            high = [os.dup(end) for end in (read_end, write_end)]  # 3 may be one of the two
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.process = subprocess.Popen(
            [EXECUTABLE, *FLAGS, f"--user-data-dir={profile}"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=descriptors, pass_fds=(3, 4),
        )  # fmt: skip
        os.close(read_end)
        os.close(write_end)

    def __enter__(self):
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", *OBSERVED):
            self.call(f"{domain}.enable")
        self.call("Target.setAutoAttach", autoAttach=True, waitForDebuggerOnStart=True, flatten=True)  # workers
        return self

    def __exit__(self, *exception):
        os.close(self.orders)
        self.process.kill()
        self.process.wait()
        os.close(self.answers)

    def open(self, path):
        """Opens a file and waits until it is loaded."""
        self.call("Page.navigate", url=path.as_uri())
        while self._message().get("method") != "Page.loadEventFired":
            pass

    def run(self, script):
        """The value of an expression, or of the promise that it is."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def call(self, method, **parameters):
        """The answer to a call of the protocol."""
        number = self._order(self.session, method, parameters)
        while (message := self._message()).get("id") != number:
            pass
        assert "error" not in message, message
        return message["result"]

    def _order(self, session, method, parameters):
        """Sends a call; returns its number."""
        self.number += 1
        order = {"id": self.number, "method": method, "params": parameters}
        if session:
            order["sessionId"] = session
        os.write(self.orders, json.dumps(order).encode() + b"\0")
        return self.number

    def _message(self):
        while b"\0" not in self.rest:
            assert select.select([self.answers], [], [], PATIENCE)[0], "the browser does not answer"
            part = os.read(self.answers, 1 << 16)
            assert part, "the browser has ended"
            self.rest += part
        first, _, self.rest = self.rest.partition(b"\0")
        message = json.loads(first)
        if message.get("method") in ("Runtime.exceptionThrown", "Runtime.consoleAPICalled", "Log.entryAdded"):
            self.complaints.append(message["params"])
        if message.get("method") == "Network.requestWillBeSent":
            self.requests.append(message["params"]["request"]["url"])
        if message.get("method") == "Target.attachedToTarget" and self.session:
            worker = message["params"]["sessionId"]
            for method in (*(f"{domain}.enable" for domain in OBSERVED), "Runtime.runIfWaitingForDebugger"):
                self._order(worker, method, {})  # its answer tells nothing
        return message
