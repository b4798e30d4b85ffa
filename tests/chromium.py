"""Headless Chromium through its debugging pipe (no port, no driver): a page opened, asked, photographed, printed."""

import base64
import contextlib
import json
import os
import pathlib
import select
import subprocess
import time
from collections.abc import Iterator
from typing import Any

EXECUTABLE = pathlib.Path("/usr/bin/chromium")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-pipe"),
)


class Page:
    """One tab: ``problems`` gathers console errors, exceptions, refused loads; ``requests`` what it asked to load."""

    def __init__(self, read: int, write: int):
        self.read, self.write, self.left, self.sent, self.session = read, write, b"", 0, None
        self.problems: list[str] = []
        self.requests: list[str] = []
        self.events: list[str] = []
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """One command's answer; what happens meanwhile is noted."""
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters}
        os.write(
            self.write, json.dumps(message | ({"sessionId": self.session} if self.session else {})).encode() + b"\0"
        )
        while True:
            heard = self._hear()
            if heard.get("id") == self.sent:
                assert "error" not in heard, f"{method}: {heard['error']}"
                return heard["result"]

    def open(
        self, path: pathlib.Path, width: int = 1280, height: int = 900, dark: bool = False, scripts: bool = True
    ) -> float:
        """The seconds from asking for the page to its load event and one painted frame behind it."""
        self.ask(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", media="", features=[scheme])
        self.ask("Emulation.setScriptExecutionDisabled", value=not scripts)
        self.events.clear()
        start = time.monotonic()
        self.ask("Page.navigate", url=path.absolute().as_uri())
        while "Page.loadEventFired" not in self.events:
            self._hear()
        if scripts:
            self.value("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)))")
        return time.monotonic() - start

    def value(self, expression: str) -> Any:
        """What the expression, or the promise it makes, comes to in the page."""
        told = self.ask("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in told, told["exceptionDetails"]
        return told["result"].get("value")

    def picture(self, path: pathlib.Path) -> None:
        """A PNG of the whole page."""
        size = self.ask("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16_000), "scale": 1}
        shot = self.ask("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(shot["data"]))

    def print(self, path: pathlib.Path) -> None:
        """A PDF, on A4."""
        made = self.ask(
            "Page.printToPDF", printBackground=False, paperWidth=8.27, paperHeight=11.69, preferCSSPageSize=True
        )
        path.write_bytes(base64.b64decode(made["data"]))

    def _hear(self, seconds: float = 30.0) -> dict[str, Any]:
        until = time.monotonic() + seconds
        while b"\0" not in self.left:
            ready, _, _ = select.select([self.read], [], [], max(0.0, until - time.monotonic()))
            chunk = os.read(self.read, 1 << 20) if ready else b""
            assert chunk, f"Chromium said nothing for {seconds:g} s, or went away"
            self.left += chunk
        line, _, self.left = self.left.partition(b"\0")
        heard = json.loads(line)
        self._note(heard.get("method", ""), heard.get("params", {}))
        return heard

    def _note(self, method: str, said: dict[str, Any]) -> None:
        self.events.append(method)
        if method == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(said["exceptionDetails"])[:500])
        if method == "Runtime.consoleAPICalled" and said["type"] in ("error", "warning", "assert"):
            self.problems.append(json.dumps(said["args"])[:500])
        if method == "Log.entryAdded" and said["entry"]["level"] in ("error", "warning"):
            self.problems.append(said["entry"]["text"])
        if method == "Network.requestWillBeSent":
            self.requests.append(said["request"]["url"][:200])


@contextlib.contextmanager
def chromium(profile: pathlib.Path) -> Iterator[Page]:
    """A fresh browser with an empty profile; it is gone when the block is left."""
    ours, theirs = os.pipe(), os.pipe()  # what it reads, what it writes
    wired = f"exec {EXECUTABLE} {' '.join(FLAGS)} --user-data-dir={profile} 3<&{ours[0]} 4>&{theirs[1]}"
    process = subprocess.Popen(["/bin/bash", "-c", wired], pass_fds=(ours[0], theirs[1]), stderr=subprocess.DEVNULL)
    os.close(ours[0]), os.close(theirs[1])
    try:
        yield Page(theirs[0], ours[1])
    finally:
        process.kill()
        process.wait()
        os.close(ours[1]), os.close(theirs[0])
