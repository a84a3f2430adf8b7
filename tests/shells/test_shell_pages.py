"""The pages of shells and sessions: over plain HTTP, and in a real browser on real shells."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from django.test import Client
from playwright.sync_api import Browser, Page, expect

import tests.frontend.conftest as the_browser
from core.models import Event
from machines.models import Session, Snippet
from tests.frontend.browsing import IN_A_BROWSER, LEFT_TOO_SOON, Person
from tests.frontend.recorded import violations
from tests.lab.sshd import Sshd
from tests.shells.conftest import Open, Place, Shells, ended, make_place, the_session, wait_for

pytestmark = IN_A_BROWSER
chromium, browser = the_browser.chromium, the_browser.browser
SHOTS = os.environ.get("SHOTS", "")


@pytest.fixture
def person(browser: Browser, web: Shells, place: Place) -> Iterator[Callable[..., Person]]:
    """A browser of the place's owner; at the end none may have complained."""
    made: list[Person] = []
    place.user.set_password("correct horse battery")
    place.user.save()

    def open_one(**how: object) -> Person:
        made.append(Person(browser, f"http://127.0.0.1:{web.port}", permissions=["clipboard-read", "clipboard-write"], **how))
        return made[-1].sign_in(place.user)

    yield open_one
    complaints = [text for one in made for text in one.complaints if not text.startswith(LEFT_TOO_SOON)]
    for one in made:
        one.context.close()
    assert not complaints


def shot(page: Page, name: str) -> None:
    if SHOTS:
        page.screenshot(path=str(Path(SHOTS) / f"{name}.png"))


SCREEN = """number => {
  const buffer = document.querySelector("mist-shells").tab?.panes[number]?.terminal.buffer.active;
  return Array.from({ length: buffer?.length ?? 0 }, (_, i) => buffer.getLine(i).translateToString(true)).join("\\n");
}"""


def screen(page: Page, number: int = 0) -> str:
    """What a pane shows, with its scrollback."""
    return str(page.evaluate(SCREEN, number))


def has(page: Page, text: str, number: int = 0, seconds: float = 15) -> None:
    wait_for(lambda: text in screen(page, number), seconds, lambda: screen(page, number)[-800:])


def test_a_shell_in_the_browser(place: Place, person: Callable[..., Person]) -> None:
    page = person().page
    page.goto(f"/o/here/machines/{place.machine.pk.hex}")
    page.get_by_role("link", name="Shell", exact=True).first.click()
    page.get_by_label("Reason").first.fill("INC-4127 502 on web-eu")
    page.get_by_role("button", name="Open shell").click()
    page.wait_for_url("**/shells?at=*")
    expect(page.locator(".term .rec")).to_have_text("recorded")
    wait_for(lambda: "# " in screen(page) or "$ " in screen(page))
    page.keyboard.type("PS1='root@web-eu-04:~# '; clear\n")
    wait_for(lambda: screen(page).startswith("root@web-eu-04:~#"))
    page.keyboard.type("echo it-is-$((40+2))\n")
    has(page, "it-is-42")
    expect(page.locator("[data-fact=commands]")).to_contain_text("echo it-is-$((40+2))")
    expect(page.locator("[data-fact=reason]")).to_have_text("INC-4127 502 on web-eu")
    # find
    page.keyboard.press("Control+Shift+F")
    page.get_by_label("Find in the terminal").fill("it-is-42")
    expect(page.locator(".find small")).to_have_text("1 of 1")
    page.keyboard.press("Escape")
    # split, and type into both
    page.keyboard.press("Control+Shift+E")
    expect(page.locator(".term")).to_have_count(2)
    wait_for(lambda: "# " in screen(page, 1) or "$ " in screen(page, 1))
    page.keyboard.press("Control+Shift+B")
    expect(page.locator(".casts")).to_contain_text("Typing goes to 2 panes")
    page.keyboard.type("echo both-$((1+1))\n")
    has(page, "both-2", 0)
    has(page, "both-2", 1)
    shot(page, "shell-split")
    assert not violations(page)
    # leave, and come back
    page.goto("/o/here/machines")
    expect(page.locator("#shells-button")).to_contain_text("2")
    page.goto("/o/here/shells")
    expect(page.locator(".term")).to_have_count(2)
    has(page, "it-is-42", 0)
    # end one
    page.on("dialog", lambda dialog: dialog.accept())
    page.keyboard.press("Control+Shift+B")
    page.locator(".stabs .x").click()
    wait_for(lambda: not Session.objects.exclude(state="ended").exists())
    expect(page.get_by_text("No shell is open")).to_be_visible()


def test_shells_on_several_machines_open_side_by_side(place: Place, person: Callable[..., Person]) -> None:
    one = place.machine.pk.hex
    page = person().page
    page.goto(f"/o/here/shells?on={one},{one}")
    expect(page.get_by_role("heading", name="Open a shell on each of 2 machines")).to_be_visible()
    page.get_by_label("Reason").first.fill("INC-4127")
    page.get_by_role("button", name="Open 2 shells").click()
    expect(page.locator(".term")).to_have_count(2)
    expect(page.locator(".stabs .t")).to_have_count(1)
    wait_for(lambda: all("# " in screen(page, n) or "$ " in screen(page, n) for n in (0, 1)))
    expect(page.locator(".casts")).to_contain_text("Typing goes to one pane")
    page.keyboard.press("Control+Shift+B")
    page.keyboard.type("echo both-$((1+1))\n")
    has(page, "both-2", 0)
    has(page, "both-2", 1)
    assert [session.reason for session in Session.objects.all()] == ["INC-4127", "INC-4127"]


def test_a_shell_that_is_refused_is_told_and_the_others_open(place: Place, web: Shells) -> None:
    client = Client()
    client.force_login(place.user)
    nowhere = "0" * 32
    assert client.post("/o/here/shells", {"on": f"{place.machine.pk.hex},{nowhere}"}).status_code == 404
    assert not Session.objects.exists()
    place.machine.state = "stopped"
    place.machine.save()
    answer = client.post("/o/here/shells", {"on": place.machine.pk.hex, "reason": "kept"})
    assert answer.status_code == 409
    assert "No shell was opened." in answer.content.decode()
    assert 'value="kept"' in answer.content.decode()


PASTE = """text => {
  const data = new DataTransfer(); data.setData("text/plain", text);
  document.querySelector(".xterm-helper-textarea").dispatchEvent(new ClipboardEvent("paste", { clipboardData: data, bubbles: true }));
}"""


def test_much_that_is_pasted_arrives_whole(place: Place, person: Callable[..., Person], opened: Open) -> None:
    opened(place)
    page = person().page
    page.goto("/o/here/shells")
    wait_for(lambda: "# " in screen(page) or "$ " in screen(page))
    page.keyboard.type("stty -echo; echo it' 'reads; cat | wc -lc | tr -s ' ' _; echo sum\n")
    has(page, "it reads")
    line = "ü" * 99 + "\n"
    page.evaluate(PASTE, line * 8000)  # 1.6 MB: more than one message may have
    page.keyboard.press("Control+D")
    has(page, f"8000_{8000 * len(line.encode())}", seconds=60)


def test_a_dropped_socket_comes_back_by_itself(place: Place, person: Callable[..., Person], opened: Open, shells: Shells) -> None:
    terminal = opened(place)
    terminal.prompt()
    one = person()
    page = one.page
    page.goto("/o/here/shells")
    has(page, "ready>")
    shells.web.kill()
    shells.start_web()
    page.locator(".term").first.click()
    wait_for(lambda: page.evaluate("document.querySelector('mist-shells').pane.state") == "open", 30)
    page.keyboard.type("echo back-$((1+1))\n")
    has(page, "back-2")
    one.complaints.clear()  # that web was away


def test_a_watcher_sees_and_cannot_type(place: Place, person: Callable[..., Person], opened: Open) -> None:
    terminal = opened(place)
    terminal.prompt()
    page = person().page
    page.goto(f"/o/here/sessions/{the_session().pk.hex}")
    page.get_by_role("link", name="Watch live").click()
    terminal.type("echo seen-$((1+1))\r")
    has(page, "seen-2")
    page.keyboard.type("echo from-the-watcher\n")
    terminal.type("echo after-$((1+1))\r")
    terminal.expect("after-2")
    assert b"from-the-watcher" not in terminal.shown


def test_a_recording_is_replayed_and_searched(place: Place, person: Callable[..., Person], opened: Open) -> None:
    terminal = opened(place, reason="why not")
    terminal.prompt()
    terminal.type("echo moment-$((40+2))\r")
    terminal.expect("moment-42")
    terminal.type("exit\r")
    session = ended(the_session())
    page = person().page
    page.goto("/o/here/sessions")
    expect(page.get_by_role("row").nth(1)).to_contain_text("web-eu-04")
    shot(page, "sessions")
    assert not violations(page)
    page.get_by_role("row").nth(1).get_by_role("link").click()
    expect(page.locator(".ap-player")).to_be_visible()
    page.get_by_label("Search in the output").fill("MOMENT-4")
    page.keyboard.press("Enter")
    page.locator(".hits button").first.click()
    expect(page.locator(".ap-player")).to_contain_text("moment-42", timeout=10_000)
    page.get_by_role("button", name="8×").click()
    page.get_by_role("button", name="Link to this moment").click()
    wait_for(lambda: "#t=" in page.url)
    page.locator(".info2 .cmd button").first.click()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_text().startswith('{"version": 2')
    shot(page, "session")
    assert not violations(page)
    assert Event.objects.filter(type="session.replay.succeeded", target_id=session.pk).count() >= 3


@pytest.fixture
def folder(sshd: Sshd) -> Iterator[Path]:
    """In the home of the login, gone after the test."""
    found = Path(tempfile.mkdtemp(prefix="up-", dir=sshd.directory / "home"))
    yield found
    shutil.rmtree(found)


def upload(page: Page, files: object, folder: str = "") -> None:
    page.get_by_role("button", name="Upload a file").click()
    page.get_by_label("Files").set_input_files(files)
    page.get_by_label("Folder").fill(folder)
    page.get_by_role("button", name="Upload", exact=True).click()


def slowed(page: Page) -> None:
    """What is read of a file waits until the test lets it: so that the middle of an upload can be looked at."""
    page.evaluate("""() => {
      const read = Blob.prototype.arrayBuffer;
      Blob.prototype.arrayBuffer = async function () {
        while (window.held) await new Promise((go) => setTimeout(go, 20));
        return read.call(this);
      };
    }""")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_files_are_uploaded_with_progress_and_asked_about(
    scheme: str, place: Place, person: Callable[..., Person], opened: Open, folder: Path
) -> None:
    opened(place).prompt()
    page = person(color_scheme=scheme).page
    page.goto("/o/here/shells")
    has(page, "ready>")
    data = os.urandom(3 << 20)
    slowed(page)
    page.evaluate("window.held = true")
    page.get_by_role("button", name="Upload a file").click()
    expect(page.get_by_role("heading", name="Upload to web-eu-04")).to_be_visible()
    shot(page, f"upload-dialog-{scheme}")
    assert not violations(page)
    page.keyboard.press("Escape")
    files = [("data.bin", data), ("notes.txt", b"one")]
    upload(page, [{"name": name, "mimeType": "", "buffer": content} for name, content in files], folder.name)
    row = page.locator(".up").first
    expect(page.locator(".up")).to_have_count(2)
    expect(row.get_by_role("progressbar", name="Upload of data.bin")).to_be_visible()
    expect(page.locator(".up").nth(1)).to_contain_text("waits for the one before")
    page.keyboard.type("echo typed-$((40+2))\n")  # the terminal has the focus, and is answered meanwhile
    has(page, "typed-42")
    shot(page, f"upload-{scheme}")
    assert not violations(page)
    if scheme == "dark":  # as on a line on which each piece is late: less and less is on its way at once
        page.evaluate("document.querySelector('mist-shells').pane.uploads.items[0].fastest = -1000")
    page.evaluate("window.held = false")
    expect(row).to_contain_text(f"is there: {folder}/data.bin, 3 MiB")
    expect(page.locator(".up").nth(1)).to_contain_text("is there")
    assert (folder / "data.bin").read_bytes() == data
    assert (folder / "notes.txt").read_text() == "one"
    expect(page.locator("[data-fact=commands]")).to_contain_text(f"# upload: {folder}/notes.txt (3 B)")
    page.keyboard.press("Control+Shift+F")
    page.get_by_label("Find in the terminal").fill("typed")
    expect(page.locator(".up")).to_have_count(0, timeout=30_000)  # what is there leaves, and takes the focus from nobody
    expect(page.get_by_label("Find in the terminal")).to_be_focused()
    # one of that name
    notes = {"name": "notes.txt", "mimeType": "text/plain", "buffer": b"two!"}
    for answer, there in (("Skip", ["one"]), ("Keep both", ["two!", "one"]), ("Replace", ["two!", "two!"])):
        upload(page, notes, folder.name)
        expect(page.locator(".up")).to_contain_text("There is a file of that name")
        assert page.evaluate("document.activeElement.className") == "xterm-helper-textarea"  # an Enter meant for the shell replaces nothing
        if answer == "Skip":
            shot(page, f"upload-asked-{scheme}")
            assert not violations(page)
        page.get_by_role("button", name=answer).click()
        if answer != "Skip":
            expect(page.locator(".up")).to_contain_text("is there: ")
            page.get_by_role("button", name="Dismiss notes.txt").click()
        expect(page.locator(".up")).to_have_count(0)
        assert [path.read_text() for path in sorted(folder.glob("notes*"))] == there
    # what is refused, and sent again to another folder
    upload(page, notes, "nowhere")
    expect(page.locator(".up")).to_contain_text("There is no folder nowhere")
    shot(page, f"upload-failed-{scheme}")
    assert not violations(page)
    page.get_by_role("button", name="Dismiss notes.txt").click()
    assert "ready>" in screen(page)


def test_an_upload_is_cancelled_and_a_lost_one_is_sent_again(
    place: Place, person: Callable[..., Person], opened: Open, folder: Path, shells: Shells
) -> None:
    opened(place).prompt()
    one = person()
    page = one.page
    page.goto("/o/here/shells")
    has(page, "ready>")
    slowed(page)
    big = {"name": "big.bin", "mimeType": "application/octet-stream", "buffer": b"x" * (3 << 20)}
    for way in ("cancel", "lose"):
        page.evaluate("window.held = true")
        upload(page, big, folder.name)
        wait_for(lambda: [path.name for path in folder.iterdir()])
        if way == "cancel":
            page.get_by_role("button", name="Cancel the upload of big.bin").click()
            expect(page.locator(".up")).to_contain_text("It was cancelled.")
            page.get_by_role("button", name="Dismiss big.bin").click()
        else:
            shells.web.kill()
            expect(page.locator(".up")).to_contain_text("The connection was lost before it was whole")
        wait_for(lambda: not list(folder.iterdir()))
    shells.start_web()
    wait_for(lambda: page.evaluate("document.querySelector('mist-shells').pane.state") == "open", 30)
    page.evaluate("window.held = false")
    page.get_by_role("button", name="Send big.bin again").click()
    expect(page.locator(".up")).to_contain_text("is there: ")
    assert (folder / "big.bin").stat().st_size == 3 << 20
    one.complaints.clear()  # that web was away


DROP = """([name, text]) => {
  const data = new DataTransfer(); data.items.add(new File([text], name));
  const box = document.querySelector(".term");
  const how = { dataTransfer: data, bubbles: true, cancelable: true };
  for (const type of ["dragenter", "dragover", "drop"]) box.dispatchEvent(new DragEvent(type, how));
}"""


def test_a_file_is_dropped_on_a_pane_and_a_key_asks_for_one(
    place: Place, person: Callable[..., Person], opened: Open, folder: Path
) -> None:
    opened(place).prompt()
    page = person().page
    page.goto("/o/here/shells")
    has(page, "ready>")
    page.keyboard.press("Control+Shift+O")
    expect(page.get_by_role("heading", name="Upload to web-eu-04")).to_be_visible()
    page.get_by_label("Folder").fill(folder.name)
    page.get_by_label("Files").set_input_files({"name": "a", "mimeType": "text/plain", "buffer": b"a"})
    page.keyboard.press("Enter")
    expect(page.locator(".up")).to_contain_text("is there")
    page.evaluate(DROP, ["dropped.txt", "by hand"])
    expect(page.get_by_role("heading", name="Upload to web-eu-04")).to_be_visible()
    expect(page.get_by_label("Folder")).to_have_value(folder.name)  # as before
    page.keyboard.press("Enter")
    wait_for(lambda: (folder / "dropped.txt").exists())
    assert (folder / "dropped.txt").read_text() == "by hand"


def test_who_watches_is_told_that_no_file_goes(place: Place, person: Callable[..., Person], opened: Open) -> None:
    opened(place).prompt()
    page = person().page
    page.goto(f"/o/here/shells?watch={the_session().pk.hex}")
    page.locator(".tabrow .name").last.click()
    button = page.get_by_role("button", name="Upload a file")
    expect(button).to_have_attribute("aria-disabled", "true")
    expect(button).to_have_attribute("title", "Whoever only watches a shell sends no files")
    button.click(force=True)
    expect(page.locator("#upload")).to_be_hidden()
    page.evaluate(DROP, ["dropped.txt", "by hand"])
    expect(page.locator(".up")).to_contain_text("Whoever only watches a shell sends no files")


def test_on_a_telephone(place: Place, person: Callable[..., Person], opened: Open) -> None:
    opened(place).prompt()
    page = person().page
    page.set_viewport_size({"width": 390, "height": 844})
    page.goto("/o/here/shells")
    has(page, "ready>")
    page.keyboard.type("cat")
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Ctrl").click()
    page.keyboard.type("c")
    has(page, "^C")
    shot(page, "shell-390")
    assert not violations(page)
    upload(page, {"name": "a-file-from-my-telephone.jpg", "mimeType": "image/jpeg", "buffer": b"x"}, "nowhere")
    expect(page.locator(".up")).to_contain_text("There is no folder nowhere")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    shot(page, "upload-390")
    assert not violations(page)
    page.get_by_role("button", name="Upload a file").click()
    expect(page.locator("#upload")).to_be_visible()
    shot(page, "upload-dialog-390")
    assert not violations(page)


def test_snippets_are_ones_own(place: Place) -> None:
    client = Client()
    client.force_login(place.user)
    client.post("/o/here/shells/snippets", {"text": "uptime\nwho\n\nuptime\n"})
    assert list(Snippet.objects.order_by("position").values_list("text", flat=True)) == ["uptime", "who"]
    assert ">uptime</button>" in client.get("/o/here/shells").content.decode()


def test_a_stranger_finds_nothing(place: Place, opened: Open, sshd: object) -> None:
    opened(place).prompt()
    session = the_session()
    other = make_place(sshd, port=sshd.port, name="elsewhere")  # type: ignore[arg-type, attr-defined]
    client = Client()
    client.force_login(other.user)
    for path in (
        f"sessions/{session.pk.hex}",
        f"shells?watch={session.pk.hex}",
        f"sessions/{session.pk.hex}/cast",
        f"sessions/{session.pk.hex}/output?q=a",
    ):
        assert client.get(f"/o/elsewhere/{path}").status_code == 404
    for path in (f"shells/{session.pk.hex}/join", f"machines/{place.machine.pk.hex}/shell", f"sessions/{session.pk.hex}/do/kill"):
        assert client.post(f"/o/elsewhere/{path}").status_code == 404
    assert not re.search("web-eu-04", client.get("/o/elsewhere/sessions").content.decode())
