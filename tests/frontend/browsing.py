"""A real browser on the real server, for tests: who opens it, and that nothing in it complains."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from django.conf import settings
from playwright.sync_api import Browser, BrowserContext, Page, Playwright, expect, sync_playwright

from accounts.models import User
from clouds.models import Cloud
from core.actions import perform
from core.models import Job
from machines.models import Machine
from tests.conftest import WAITED_FOR
from tests.forked import Process
from tests.frontend.conftest import PASSWORD, actor_for, add_user, make_org, read_clouds, signed_in
from tests.ops.stack import children

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = shutil.which("chromium")
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
BUILT = ROOT / "frontend" / "static" / "build" / "console.js"

expect.set_options(timeout=20_000)  # two cores may have other work: slow is not wrong

LEFT_TOO_SOON = "Transition was "  # Chromium's word on a page that was left, or changed its width, before it had faded in

# What a module of such tests says: `pytestmark = IN_A_BROWSER`. Once more where it failed: the second failure counts, the first is told
# in full at the end (tests/conftest.py), for it is as likely a race of ours as a busy machine.
IN_A_BROWSER = [
    pytest.mark.flaky(reruns=1),
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed"),
    pytest.mark.skipif(not BUILT.exists(), reason="the front end is not built: npm run build"),
    pytest.mark.django_db(transaction=True),
]


class Chromium:
    """Chromium, started when asked for and again after it hung."""

    def __init__(self, playwright: Playwright) -> None:
        self._playwright = playwright
        self._open: Browser | None = None

    def get(self) -> Browser:
        if self._open is None:
            flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
            self._open = self._playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        return self._open

    def close(self) -> None:
        if self._open is not None:
            self._open.close()

    def kill(self) -> None:
        """What waits for it is told that it is gone."""
        self._open = None
        pids = [os.getpid()]
        for pid in pids:
            pids += children(pid)
            with suppress(OSError):  # it ended meanwhile
                if Path(f"/proc/{pid}/comm").read_text().startswith("chrom"):
                    os.kill(pid, signal.SIGKILL)


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chromium]:
    """For one module's tests: its loop runs in this thread, where no other may run meanwhile; the ORM is used beside it."""
    with pytest.MonkeyPatch.context() as patch, sync_playwright() as playwright:
        patch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
        made = Chromium(playwright)
        WAITED_FOR.append(made.kill)
        try:
            yield made
            made.close()
        finally:
            WAITED_FOR.remove(made.kill)


@pytest.fixture
def browser(chromium: Chromium) -> Browser:
    return chromium.get()


@contextmanager
def serving(port: int = 0, **changed: Any) -> Iterator[str]:
    """The web process on the test database, on a free port or this one, with these settings changed; its address."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        port = probe.getsockname()[1]
    log = settings.MIST_HOME / f"served-{port}.log"
    process = Process("tests.frontend.served", log, port, changed=changed)
    try:
        address = f"http://127.0.0.1:{port}"
        wait(lambda: not process.is_alive or _answers(address), 60, lambda: log.read_text()[-2000:])
        assert process.is_alive, log.read_text()[-2000:]
        yield address
    finally:
        process.stop()


@pytest.fixture(scope="session")
def server(django_db_setup: None, django_db_blocker: object) -> Iterator[str]:
    """The address of the web process, on the test database."""
    with serving() as address:
        yield address


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/sign-in", timeout=5) as response:
            return bool(response.status == 200)
    except OSError:
        return False


def wait(done: Callable[[], bool], seconds: float, why: Callable[[], str] = lambda: "") -> None:
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            pytest.fail(f"it did not happen within {seconds} s. {why()}")
        time.sleep(0.1)


def read_until(machine: Machine, state: str) -> bool:
    """Poll once more, as the scheduler would; is it there yet?"""
    read_clouds()
    machine.refresh_from_db()
    return machine.state == state


class Person:
    """A browser of somebody. `complaints`: console errors and policy violations, that must not be."""

    def __init__(self, browser: Browser, server: str, **how: object) -> None:
        self.server = server
        self.context: BrowserContext = browser.new_context(base_url=server, viewport={"width": 1440, "height": 900}, **how)  # type: ignore[arg-type]
        self.complaints: list[str] = []
        self.context.add_init_script(
            "document.addEventListener('securitypolicyviolation', e => console.error('CSP ' + e.violatedDirective + ' ' + e.blockedURI))"
        )
        self.page: Page = self.context.new_page()
        self.context.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        self.context.on("weberror", lambda error: self.complaints.append(str(error.error)))

    def sign_in(self, user: User) -> Person:
        """By a session that is theirs: what the form does is asked in test_sign_in.py."""
        key = signed_in(user).cookies[settings.SESSION_COOKIE_NAME].value
        self.context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": key, "url": self.server}])
        return self

    def be_live(self) -> None:
        expect(self.page.locator("mist-live[data-state=live]")).to_be_visible()


def sign_in_by_form(page: Page, user: User) -> None:
    """Where the page of it is open."""
    page.get_by_label("E-mail").fill(user.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()


@pytest.fixture
def person(browser: Browser, server: str) -> Iterator[Callable[..., Person]]:
    """Opens browsers; at the end none may have complained."""
    made: list[Person] = []

    def open_one(user: User | None = None, **how: object) -> Person:
        made.append(Person(browser, server, **how))
        return made[-1].sign_in(user) if user else made[-1]

    yield open_one
    complaints = [text for one in made for text in one.complaints if not text.startswith(LEFT_TOO_SOON)]
    for one in made:
        one.context.close()
    assert not complaints, complaints


@pytest.fixture
def quiet(transactional_db: None) -> Iterator[None]:
    """The server's jobs are over before the tables are emptied: otherwise each would wait for the other."""
    yield
    wait(lambda: not Job.objects.filter(state__in=["queued", "running"]).exists(), 30)


@pytest.fixture
def owner(quiet: None) -> User:
    org, owner = make_org("here")
    add_user(org, "second@here.example")
    return owner


@pytest.fixture
def fleet(owner: User) -> User:
    org = owner.orgs.get()
    credentials = {"machines": 24, "seed": 1, "latency_ms": 10}  # a stop takes 0.1 s
    perform(actor_for(org, owner), Cloud, "create", {"name": "demo one", "provider": "demo", "credentials": credentials})
    read_clouds()
    return owner
