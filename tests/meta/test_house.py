"""Rules of the house that no linter knows."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

from django.urls import resolve

from tests.browser.pages import PAGES, UNPICTURED
from tests.conftest import LONG
from tests.frontend.every_page import readable

ROOT = Path(__file__).resolve().parent.parent.parent
APPS = ("core", "accounts", "keys", "clouds", "networks", "machines", "volumes", "scripts", "frontend", "mist")


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", *patterns], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return [ROOT / line for line in listed.stdout.splitlines() if (ROOT / line).exists()]


def sources() -> list[Path]:
    return [path for path in tracked("*.py") if path.relative_to(ROOT).parts[0] in APPS and "migrations" not in path.parts]


def test_the_readme_lists_every_variable_and_none_that_is_gone() -> None:
    read = set(re.findall(r'env\.\w+\(\s*"(MIST_\w+)"', (ROOT / "mist" / "settings.py").read_text())) - {"MIST_DEBUG"}
    table = re.findall(r"^\| (`MIST_.*?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert {name for row in table for name in re.findall(r"MIST_\w+", row)} == read


def test_lock_files_hold_hashes_and_no_addresses() -> None:
    for path in [*tracked("requirements*.txt"), ROOT / "package-lock.json"]:
        assert not re.search(r"https?://\S+\.(tgz|whl|tar\.gz)", path.read_text()), path
        assert "resolved" not in path.read_text(), path
    for path in tracked("requirements*.txt"):
        pins = re.findall(r"^[a-z0-9].*?==.*?(?=^\S)", path.read_text() + "\nend", re.MULTILINE | re.DOTALL | re.IGNORECASE)
        assert pins
        assert all("--hash=sha256:" in pin for pin in pins), path


def test_the_environment_is_read_in_one_place() -> None:
    allowed = {"mist/env.py"}
    readers = set()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            is_read = (
                (isinstance(node, ast.Attribute) and node.attr == "getenv")
                or (isinstance(node, ast.Subscript) and isinstance(node.ctx, ast.Load) and ast.unparse(node.value) == "os.environ")
                or (isinstance(node, ast.Call) and ast.unparse(node.func) == "os.environ.get")
            )
            if is_read:
                readers.add(path.relative_to(ROOT).as_posix())
    assert readers <= allowed


def test_nothing_is_named_a_drawer() -> None:
    assert not [path for path in sources() if path.stem in {"utils", "helpers", "services", "misc", "common", "signals"}]


def test_the_files_that_take_longest_are_there() -> None:
    assert [name for name in LONG if not (ROOT / "tests" / name).exists()] == []


def test_every_module_says_what_it_is() -> None:
    silent = [path for path in sources() if path.read_text().strip() and not ast.get_docstring(ast.parse(path.read_text()))]
    assert not silent


def test_nothing_we_made_is_committed() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert not re.search(r"^(node_modules|staticfiles|var|\.venv|frontend/static/build)/", listed, re.MULTILINE)


def test_every_page_has_its_picture() -> None:
    """`make screenshots` takes each page of the console: one that is added is added there too."""
    pictured = {str(resolve(f"/o/x/{path.split('?')[0]}".replace("{", "").replace("}", "")).route) for path in PAGES.values()}
    assert {f"o/<slug:slug>/{route}" for route in readable()} - pictured == {f"o/<slug:slug>/{route}" for route in UNPICTURED}
