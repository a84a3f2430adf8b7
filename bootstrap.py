#!/usr/bin/env python3
"""What `make` runs before there is anything: the virtual environment, the pinned requirements, the built front end.

Standard library alone, any Python from 3.11. Each step leaves a stamp of what it was made from and is skipped while that
stays the same, so that the second start costs nothing.

    bootstrap.py ENVIRONMENT [--dev]     --dev: what tests, linters and benchmarks need, too
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parent
NODE_MINIMUM = 20
BUILT = ROOT / "frontend" / "static" / "build"


def main(arguments: list[str]) -> None:
    if sys.version_info < (3, 11):
        sys.exit(f"Mist needs Python 3.11 or newer; this is {sys.version.split()[0]}. Run: make PYTHON=/path/to/python3.11")
    if not sys.platform.startswith("linux"):
        print("Mist's embedded database is for Linux: set MIST_DATABASE_URL and MIST_REDIS_URL here.")
    is_dev = "--dev" in arguments
    venv = ROOT / arguments[0]
    python = make_environment(venv)
    install(python, venv, "requirements-dev.txt" if is_dev else "requirements.txt")
    install_command_line(python, venv)
    build_front_end(python, venv, is_dev)
    compile_translations(python)
    collect_static(python)


def make_environment(venv: Path) -> Path:
    """The environment's Python; an environment that lost its own (an upgraded system) is made again."""
    python = venv / "bin" / "python"
    if python.exists() and run_quietly([python, "-m", "pip", "--version"]) is not None:
        return python
    say("Making the virtual environment")
    if run_quietly([sys.executable, "-m", "venv", "--clear", venv]) is not None:
        return python
    # Debian's Python comes without ensurepip; its pip may be there, or virtualenv.
    if run_quietly([sys.executable, "-m", "virtualenv", "--clear", venv]) is not None:
        return python
    shutil.rmtree(venv, ignore_errors=True)
    pip_from_outside = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "pip"]
    if run_quietly([sys.executable, "-m", "venv", "--without-pip", venv]) is not None and run_quietly(pip_from_outside) is not None:
        return python
    if os.getuid() == 0 and shutil.which("apt-get"):
        version = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
        say(f"Installing {version}, which Debian keeps apart from Python")
        apt = ["apt-get", "-o", "DPkg::Lock::Timeout=500", "-qq"]
        subprocess.run([*apt, "update"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        subprocess.run([*apt, "install", "-y", "--no-install-recommends", version], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        if run_quietly([sys.executable, "-m", "venv", "--clear", venv]) is not None:
            return python
    shutil.rmtree(venv, ignore_errors=True)
    sys.exit("This Python can make no virtual environment. On Debian and Ubuntu: apt install python3-venv. Then again.")


def install(python: Path, venv: Path, requirements: str) -> None:
    """Install the pins of a requirements file, each checked by its hash."""
    wanted = digest([ROOT / requirements], extra=python.resolve().as_posix())
    # What the development file pins holds the other's pins, too.
    stamps = {name: venv / f".mist-{name}" for name in ("requirements.txt", "requirements-dev.txt", "requirements-node.txt")}
    if read(stamps[requirements]) == wanted:
        return
    if requirements == "requirements.txt" and read(stamps["requirements-dev.txt"]) == digest(
        [ROOT / "requirements-dev.txt"], extra=python.resolve().as_posix()
    ):
        return
    say(f"Installing {requirements} (once; a minute or two)")
    run(
        [
            python,
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--require-hashes",
            "-r",
            ROOT / requirements,
        ]
    )
    stamps[requirements].write_text(wanted)


def install_command_line(python: Path, venv: Path) -> None:
    """`mist`, as a link to cli/: built by what the requirements brought, with nothing from outside."""
    wanted, stamp = digest([ROOT / "cli" / "pyproject.toml"], extra=ROOT.as_posix()), venv / ".mist-cli"
    if read(stamp) == wanted and (venv / "bin" / "mist").exists():
        return
    say("Installing the command line")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-index", "--no-build-isolation"]
    run([python, "-m", "pip", "install", *quiet, "--editable", ROOT / "cli"])
    stamp.write_text(wanted)


def build_front_end(python: Path, venv: Path, is_dev: bool) -> None:
    if not (ROOT / "package.json").exists():
        say("There is no package.json: the console's scripts and styles are not built")
        return
    installed, built = ROOT / "node_modules" / ".mist-installed", ROOT / "node_modules" / ".mist-built"
    lock = digest([ROOT / "package.json", ROOT / "package-lock.json"])
    sources = digest(files_below(ROOT / "frontend" / "assets"), extra=lock)
    has_modules = read(installed) == f"{lock} dev" or (not is_dev and read(installed) == lock)
    if has_modules and read(built) == sources and BUILT.exists():
        return
    npm, environment = find_node(python, venv)
    if not has_modules:
        say("Installing the front end's packages (npm ci)")
        run([*npm, "ci", "--no-audit", "--no-fund", "--loglevel=error", *([] if is_dev else ["--omit=dev"])], env=environment)
        installed.write_text(f"{lock} dev" if is_dev else lock)
    say("Building the front end")
    run([*npm, "run", "--silent", "build"], env=environment)
    built.write_text(sources)


def find_node(python: Path, venv: Path) -> tuple[list[str | Path], dict[str, str]]:
    """npm as a command, and its environment: the machine's when its Node is new enough, else the one PyPI carries."""
    environment = {**os.environ, "npm_config_update_notifier": "false", "CI": "true"}
    version = run_quietly(["node", "--version"]) if shutil.which("npm") and shutil.which("node") else None
    if version and int(version.lstrip("v").split(".")[0]) >= NODE_MINIMUM:
        return ["npm"], environment
    say(f"Node is {version.strip()}, too old" if version else "This machine has no Node", "using the one from PyPI")
    install(python, venv, "requirements-node.txt")
    return [venv / "bin" / "npm"], {**environment, "PATH": f"{venv / 'bin'}{os.pathsep}{environment.get('PATH', '')}"}


def compile_translations(python: Path) -> None:
    """.po → .mo, which Django reads; only what changed."""
    sources = sorted(ROOT.glob("frontend/locale/*/LC_MESSAGES/*.po"))
    if all(path.with_suffix(".mo").exists() and path.with_suffix(".mo").stat().st_mtime >= path.stat().st_mtime for path in sources):
        return
    say("Compiling the translations")
    run([python, ROOT / "manage.py", "translations", "compile"])


def collect_static(python: Path) -> None:
    """Gather the static files of every app, hashed and compressed, for WhiteNoise."""
    stamp = ROOT / "staticfiles" / ".mist-collected"
    wanted = digest([ROOT / "requirements.txt", ROOT / "mist" / "settings.py", *files_below(ROOT / "frontend" / "static")])
    if read(stamp) == wanted:
        return
    say("Collecting static files")
    run([python, ROOT / "manage.py", "collectstatic", "--noinput", "--clear", "--verbosity", "0"])
    stamp.write_text(wanted)


def files_below(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def digest(files: Iterable[Path], *, extra: str = "") -> str:
    """SHA-256 over names and contents."""
    sha = hashlib.sha256(extra.encode())
    for file in files:
        sha.update(f"\0{file.relative_to(ROOT)}\0".encode())
        sha.update(file.read_bytes())
    return sha.hexdigest()


def read(stamp: Path) -> str:
    return stamp.read_text() if stamp.exists() else ""


def run(command: list[str | Path], env: dict[str, str] | None = None) -> None:
    """Run it, and end with its words when it fails."""
    result = subprocess.run([str(part) for part in command], cwd=ROOT, env=env, stdin=subprocess.DEVNULL)
    if result.returncode:
        sys.exit(f"This failed: {' '.join(str(part) for part in command)}")


def run_quietly(command: list[str | Path]) -> str | None:
    """Its output; None when it failed."""
    try:
        result = subprocess.run([str(part) for part in command], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    except OSError:
        return None
    return result.stdout if result.returncode == 0 else None


def say(*words: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {': '.join(words)} …", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
