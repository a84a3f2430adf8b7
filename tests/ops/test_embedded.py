"""PostgreSQL and Valkey as our children: whoever we are, wherever the home is, whatever is left of a former run."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import psycopg
import pytest

from mist import env
from mist.embedded import TEST_CONF, CannotStart, Postgres, User, Valkey
from tests.ops.stack import PATIENCE, ROOT, Stack

pytestmark = pytest.mark.slow


def server(home: Path) -> Postgres:
    return Postgres(data=home / "pgdata", sockets=env.socket_dir(home), log_file=home / "postgres.log", conf=TEST_CONF)


def test_a_home_too_deep_for_a_socket_gets_a_short_folder_of_its_own(tmp_path: Path) -> None:
    home = tmp_path / "a-name-of-thirty-two-characters-" / "and-another-one-of-thirty-seven-chars"
    home.mkdir(parents=True)
    sockets = env.socket_dir(home)
    assert sockets.parent != home
    assert len(os.fsencode(sockets / ".s.PGSQL.5432.lock")) <= env.SOCKET_PATH_MAX
    postgres, valkey = server(home), Valkey(data=home / "valkey", sockets=sockets)
    try:
        postgres.start()
        valkey.start()
        assert sockets.stat().st_mode & 0o777 == 0o700
    finally:
        valkey.stop()
        postgres.stop()
        for file in sockets.iterdir():
            file.unlink()
        sockets.rmdir()


def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    home = tmp_path / "home"
    (home / "pgdata").mkdir(parents=True)
    if os.getuid() != 0:
        pytest.skip("only root can make a folder somebody else's")
    os.chown(home / "pgdata", 12345, 12345)
    with pytest.raises(CannotStart, match="is not ours"):
        server(home).start()
    (tmp_path / "other" / "pgdata").mkdir(parents=True)
    (tmp_path / "other" / "pgdata" / "letters").touch()
    with pytest.raises(CannotStart, match="is no database"):
        server(tmp_path / "other").start()
    link = tmp_path / "link"
    link.mkdir()
    (link / "pgdata").symlink_to(tmp_path)
    with pytest.raises(CannotStart, match="is not ours"):
        server(link).start()


def test_a_first_start_that_was_killed_leaves_nothing_half_made(tmp_path: Path) -> None:
    (tmp_path / "pgdata.new").mkdir()
    (tmp_path / "pgdata.new" / "PG_VERSION").write_text("18\n")
    postgres = server(tmp_path)
    postgres.start()
    postgres.stop()
    assert not (tmp_path / "pgdata.new").exists()


def test_a_second_owner_of_the_same_data_is_refused(tmp_path: Path) -> None:
    first = server(tmp_path)
    first.start()
    try:
        with pytest.raises(CannotStart, match="still works on"):
            server(tmp_path).spawn(lock_wait_s=0.2)
    finally:
        first.stop()


def test_what_was_committed_survives_a_kill(tmp_path: Path) -> None:
    postgres = Postgres(data=tmp_path / "pgdata", sockets=tmp_path / "run", log_file=tmp_path / "postgres.log")
    process = postgres.start()
    with psycopg.connect(host=str(postgres.sockets), user="mist", dbname="postgres") as connection:
        connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
    process.kill()
    process.wait()
    postgres.start()
    try:
        with psycopg.connect(host=str(postgres.sockets), user="mist", dbname="postgres") as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (7,)
    finally:
        postgres.stop()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
def test_letters_are_folded_by_its_own_tables_and_a_prefix_is_a_range_of_an_index(postgres: Postgres) -> None:
    with psycopg.connect(host=str(postgres.sockets), user="mist", dbname="mist") as connection:
        connection.execute("CREATE TEMPORARY TABLE names AS SELECT 'web-' || n AS name FROM generate_series(1, 10000) n")
        connection.execute("CREATE INDEX ON names (name)")
        connection.execute("ANALYZE names")
        plan = "\n".join(row[0] for row in connection.execute("EXPLAIN SELECT name FROM names WHERE name LIKE 'web-77%'"))
        assert "Index Cond" in plan, plan
        assert connection.execute("SELECT lower('ÀÉÖŞ'), 'ÄSS' ILIKE '%äs%'").fetchone() == ("àéöş", True)


def walkable(*wanted: Path, aside: Path) -> tuple[str, ...]:
    """What to put before a command so that anybody may walk to these paths: folders that are root's alone are others in its view."""
    steps = ["set -e"]
    closed: dict[Path, list[Path]] = {}
    for path in wanted:
        for folder in reversed(path.parents):
            if not folder.stat().st_mode & 0o001:
                closed.setdefault(folder, []).append(path)
                break
    for number, (folder, paths) in enumerate(closed.items()):
        kept = aside / str(number)
        steps += [f"mkdir {kept}", f"mount --rbind {folder} {kept}", f"mount -t tmpfs -o mode=755 none {folder}"]
        for path in paths:
            steps += [f"mkdir -p {path}", f"mount --rbind {kept / path.relative_to(folder)} {path}"]
    return ("unshare", "--mount", "sh", "-c", "; ".join([*steps, 'exec "$@"']), "sh")


@pytest.mark.skipif(os.getuid() != 0, reason="every other test here runs it as an ordinary user")
def test_it_runs_as_an_ordinary_user() -> None:
    user = User.unprivileged()
    with tempfile.TemporaryDirectory(prefix="mist-ordinary-") as name:
        base = Path(name)
        (base / "theirs").mkdir()
        os.chown(base / "theirs", user.uid or 0, user.gid or 0)
        base.chmod(0o711)
        programs = {Path(folder).resolve() for folder in (sys.base_prefix, sys.prefix, ROOT)}
        stack = Stack(base / "theirs" / "home", HOME=str(base / "theirs"))
        as_them = ("setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups")
        try:
            stack.launch(prefix=(*walkable(*programs, aside=base), *as_them))
            stack.wait_ready(120)
            owners = {Path(f"/proc/{pid}").stat().st_uid for pid in stack.family()}
            assert owners == {user.uid}
            assert stack.stop() <= 10 * PATIENCE
        finally:
            stack.kill()


def test_commands_without_a_running_installation_say_so(tmp_path: Path) -> None:
    stack = Stack(tmp_path / "home")
    result = subprocess.run(
        [sys.executable, "manage.py", "showmigrations"], cwd=ROOT, env=stack.environment, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 1
    assert "Mist is not running" in result.stderr
    assert "Traceback" not in result.stderr
