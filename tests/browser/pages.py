"""Which pages are pictured, and what is done on one before its picture is taken. A page without one fails a test of the house."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import Page

# {picture: path below the organization}, in the order of the menu; {kind} is the id of a row of that kind.
PAGES = {
    "dashboard": "",
    "machines": "machines",
    "machines-grouped": "machines?group=tag:env",
    "machines-selected": "machines?q=state:running&sort=-cost",
    "destroy-some": "machines?q=state:running&sort=-cost",
    "palette": "machines?q=state:running&sort=-cost",
    "jobs-drawer": "",
    "volumes": "volumes",
    "volume": "volumes/{volume}",
    "networks": "networks",
    "network": "networks/{network}",
    "images": "images",
    "image": "images/{image}",
    "machine": "machines/{machine}",
    "machine-log": "machines/{machine}/log",
    "machine-volumes": "machines/{machine}/volumes",
    "machine-networks": "machines/{machine}/networks",
    "machine-snapshots": "machines/{machine}/snapshots",
    "machine-keys": "machines/{machine}/keys",
    "destroy": "machines/{machine}/do/destroy",
    "ask": "machines/{locked}/do/stop",
    "create-machine": "machines/new?copy={machine}",
    "clouds": "clouds",
    "cloud": "clouds/{cloud}",
    "remove-cloud": "clouds/{cloud}/do/remove",
    "provider-gallery": "clouds/new",
    "add-cloud": "clouds/new/amazon",
    "scripts": "scripts",
    "new-script": "scripts/new",
    "script": "scripts/{script}",
    "run-script": "scripts/{script}/run",
    "runs": "runs",
    "script-run": "runs/{run}",
    "shell": "machines/{host}/shell",
    "shells": "shells",
    "sessions": "sessions",
    "session": "sessions/{session}",
    "jobs": "jobs",
    "job": "jobs/{job}",
    "asked": "jobs/{approval}",
    "approve": "jobs/{approval}/answer",
    "audit": "log",
    "keys": "keys",
    "new-key": "keys/new",
    "key": "keys/{key}",
    "hosts": "keys/hosts",
    "authority": "keys/authority",
    "secrets": "keys/secrets",
    "new-secret": "keys/secrets/new",
    "secret": "keys/secrets/{secret}",
    "stores": "keys/stores",
    "teams": "teams",
    "team": "teams/{team}",
    "policy": "teams/{team}/policy?preset=operate",
    "who-may-what": "teams/test?verb=machine.stop",
    "access": "access",
    "security": "settings/security",
    "api-docs": "api/docs",
    "api-docs-machines": "api/docs/machines",
    "organization": "settings/organization",
    "profile": "settings/profile",
    "password": "settings/password",
    "browsers": "settings/sessions",
    "tokens": "settings/tokens",
    "keyboard": "settings/keyboard",
}
# What answers a part of a page, a file, or leads to a page.
UNPICTURED = {
    "complete",
    "exports/<str:identity>/file",
    "log.csv",
    "log.jsonl",
    "machines/<str:identity>/menu",
    "machines/counts",
    "machines/rows",
    "machines/views/<str:identity>",
    "palette",
    "runs/<str:identity>/output",
    "runs/<str:identity>/stream",
    "scripts/pick",
    "keys/stores/<str:identity>",  # a page, but of a vault elsewhere, which a picture does not start
    "sessions/<str:identity>/cast",
    "sessions/<str:identity>/output",
    "shortcuts",
    "teams/complete",
    *(f"{name}.{form}" for name in ("machines", "volumes", "networks", "images") for form in ("csv", "json")),
}


def _select(page: Page) -> None:
    for number in range(6):
        page.locator("tbody .cb").nth(number + 3).check()
    page.locator("#bulk").wait_for()


def _ask_to_destroy(page: Page) -> None:
    _select(page)
    page.locator("#bulk").get_by_role("button", name="Destroy").click()
    page.locator("dialog[open] input.mono").fill("destroy ")


def _ask_the_palette(page: Page) -> None:
    page.keyboard.press("Control+k")
    page.locator("#palette [role=combobox]").fill("restart web")
    page.locator("#palette [role=option]", has_text="web-").first.wait_for()


def _plan_three(page: Page) -> None:
    page.locator("#name").fill("web-eu-stg-{n:02}")
    page.locator("#quantity").fill("3")
    page.locator("#many", has_text="3 machines").wait_for()


def _open_an_event(page: Page) -> None:
    page.locator("#events summary").nth(5).click()


def _open_jobs(page: Page) -> None:
    page.locator("#jobs-button").click()
    page.locator("#jobs-body h3").first.wait_for()


def _open_a_shell(page: Page) -> None:
    """Two panes side by side, in which something was typed."""
    if page.locator("#why").is_visible():
        page.locator("#why").fill("INC-4127 502 on web-eu")
        page.get_by_role("button", name="Open shell").click()
    page.locator(".term .xterm-screen").first.wait_for()
    page.wait_for_timeout(1500)
    for text in ("uname -a", "ls -l /etc/ssl | head -8", "df -h /"):
        page.keyboard.type(f"{text}\n", delay=5)
    if page.locator("[data-do=split]").is_visible() and page.locator(".term").count() == 1:
        page.locator("[data-do=split]").click()
    page.locator(".term .xterm-screen").last.wait_for()
    page.wait_for_timeout(1500)
    page.locator(".term .xterm-screen").first.click()  # whose commands are shown beside it
    page.wait_for_timeout(300)


# What is done on a page before its picture is taken.
FIRST: dict[str, Callable[[Page], None]] = {
    "machines-selected": _select,
    "create-machine": _plan_three,
    "audit": _open_an_event,
    "destroy-some": _ask_to_destroy,
    "palette": _ask_the_palette,
    "jobs-drawer": _open_jobs,
    "shell": _open_a_shell,
}
