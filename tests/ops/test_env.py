"""What the environment may say, and how it is refused."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from mist import env


def test_a_database_url_is_taken_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("X", "postgresql://us%40er:p%2Fw@DB.example:6432/mist?sslmode=require")
    found = env.database("X", tmp_path)
    assert (found["USER"], found["PASSWORD"], found["HOST"], found["PORT"], found["NAME"]) == ("us@er", "p/w", "db.example", "6432", "mist")
    assert found["OPTIONS"] == {"sslmode": "require"}
    monkeypatch.setenv("X", "postgresql://mist@%2Fvar%2FRun/mist")
    assert env.database("X", tmp_path)["HOST"] == "/var/Run"
    monkeypatch.delenv("X")
    assert env.database("X", tmp_path)["HOST"] == str(tmp_path)


@pytest.mark.parametrize("url", ["mysql://u:geheim@h/d", "postgresql://u:geheim@h", "postgresql://u:geheim@h/"])
def test_a_url_that_cannot_be_read_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch, url: str, tmp_path: Path) -> None:
    monkeypatch.setenv("X", url)
    with pytest.raises(SystemExit, match="write postgresql://") as refused:
        env.database("X", tmp_path)
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(("name", "value"), [("flag", "maybe"), ("integer", "eight"), ("url", "ftp://x"), ("url", "https://x/path")])
def test_what_cannot_be_read_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("MIST_X", value)
    arguments = {"flag": (False,), "integer": (1,), "url": ()}[name]
    with pytest.raises(SystemExit, match="MIST_X is "):
        getattr(env, name)("MIST_X", *arguments)


def test_mail_goes_to_files_unless_a_server_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert env.email("X", tmp_path)["EMAIL_FILE_PATH"] == str(tmp_path)
    monkeypatch.setenv("X", "smtp://me:s%3Acret@mail.example:587?tls=1")
    found = env.email("X", tmp_path)
    assert (found["EMAIL_HOST"], found["EMAIL_PORT"], found["EMAIL_HOST_PASSWORD"], found["EMAIL_USE_TLS"]) == (
        *("mail.example", 587, "s:cret"),
        True,
    )


def test_processes_that_start_at_once_agree_on_one_key(tmp_path: Path) -> None:
    found: list[list[str]] = []
    threads = [threading.Thread(target=lambda: found.append(env.key_file(tmp_path / "key"))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({tuple(keys) for keys in found}) == 1
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_an_emptied_key_file_is_not_quietly_made_anew(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("\n# nothing\n")
    with pytest.raises(SystemExit, match="holds no key"):
        env.key_file(tmp_path / "key")
