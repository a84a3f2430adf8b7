"""Rotating the vault's keys: while others write, when stopped half way, when the disk is full."""

from __future__ import annotations

import io
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection, connections, transaction

from core import vault
from core.errors import Failed
from core.models import VaultEntry

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def key_file(tmp_path: Path, settings: Any) -> Iterator[Path]:
    """A key file of the test's own."""
    file = tmp_path / "vault.keys"
    file.write_text(Fernet.generate_key().decode() + "\n")
    file.chmod(0o600)
    settings.VAULT_KEYS_FILE = file
    yield file
    vault._read = None


def rotate(*arguments: str) -> str:
    out = io.StringIO()
    call_command("rotate-keys", *arguments, stdout=out)
    return out.getvalue()


def sealed_with_newest() -> bool:
    newest = Fernet(vault.keys()[0].encode())
    return all(vault._opens(newest, entry) for entry in VaultEntry.objects.all())


def test_a_rotation_seals_all_with_a_new_key_and_keeps_the_file_private(key_file: Path) -> None:
    entries = [vault.put(None, "cloud", {"n": n}) for n in range(1200)]
    before = vault.keys()
    assert "1200 secrets" in rotate()
    assert vault.keys()[1:] == before
    assert sealed_with_newest()
    assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
    assert [vault.read(entry.pk)["n"] for entry in entries[::100]] == list(range(0, 1200, 100))
    assert "0 secrets" in rotate("--no-new-key")
    rotate("--drop-old")
    assert len(vault.keys()) == 1
    assert vault.read(entries[7].pk) == {"n": 7}
    assert [path.name for path in key_file.parent.iterdir()] == ["vault.keys"]


def test_what_is_written_meanwhile_is_neither_lost_nor_left_behind() -> None:
    entries = [vault.put(None, "cloud", {"n": 0, "pad": "x" * 500}) for _ in range(300)]
    stop, written = threading.Event(), []

    def write() -> None:
        n = 0
        while not stop.is_set():
            n += 1
            entry = entries[n % len(entries)]
            vault.replace(entry.pk, {"n": n})
            written.append((entry.pk, n))
            written.append((vault.put(None, "cloud", {"n": -n}).pk, -n))
        connections.close_all()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(3):
            rotate("--drop-old")
    finally:
        stop.set()
        thread.join()
    assert len(written) > 10
    for pk, n in dict(written).items():
        assert vault.read(pk)["n"] == n


def test_old_keys_are_kept_until_a_transaction_that_used_one_is_over() -> None:
    began, go = threading.Event(), threading.Event()
    pks = []

    def slow() -> None:
        with transaction.atomic():
            pks.append(vault.put(None, "cloud", {"late": True}).pk)
            began.set()
            assert go.wait(20)
        connections.close_all()

    thread = threading.Thread(target=slow)
    thread.start()
    assert began.wait(20)
    vault.add_key()
    dropped: list[int] = []

    def drop() -> None:
        dropped.append(vault.drop_old())
        connections.close_all()

    dropping = threading.Thread(target=drop)
    dropping.start()
    dropping.join(0.5)
    assert dropping.is_alive()
    assert len(vault.keys()) == 2
    go.set()
    thread.join()
    dropping.join(20)
    assert dropped == [1]
    assert vault.read(pks[0]) == {"late": True}


def test_a_full_disk_leaves_everything_readable(key_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = vault.put(None, "cloud", {"n": 1})
    before = key_file.read_text()

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CommandError, match="It is as it was"):
        rotate()
    assert key_file.read_text() == before
    assert [path.name for path in key_file.parent.iterdir()] == ["vault.keys"]
    assert vault.read(entry.pk) == {"n": 1}


def test_a_database_that_fails_half_way_leaves_everything_readable() -> None:
    entries = [vault.put(None, "cloud", {"n": n}) for n in range(30)]
    with connection.cursor() as cursor:
        cursor.execute("CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE disk_full; END $$")
        cursor.execute(
            "CREATE TRIGGER full_disk BEFORE UPDATE ON core_vaultentry FOR EACH ROW "
            f"WHEN (NEW.id = '{entries[20].pk}') EXECUTE FUNCTION full_disk()"
        )
    try:
        vault.add_key()
        with pytest.raises(Exception, match="disk_full"):
            vault.rotate(batch=7)
        assert [vault.read(entry.pk)["n"] for entry in entries] == list(range(30))
    finally:
        with connection.cursor() as cursor:
            cursor.execute("DROP FUNCTION full_disk() CASCADE")
    assert "secrets" in rotate("--no-new-key", "--drop-old")
    assert [vault.read(entry.pk)["n"] for entry in entries] == list(range(30))


def test_a_killed_rotation_can_be_run_again(key_file: Path) -> None:
    entries = [vault.put(None, "cloud", {"n": n}) for n in range(2000)]
    program = (
        "import os, django; django.setup()\n"
        "from django.conf import settings; from pathlib import Path\n"
        f"settings.VAULT_KEYS_FILE = Path({str(key_file)!r})\n"
        f"settings.DATABASES['default']['NAME'] = {connection.settings_dict['NAME']!r}\n"
        "from core import vault\n"
        "vault.add_key(); print('begun', flush=True); vault.rotate(batch=10)\n"
    )
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, env=environment, cwd=settings.BASE_DIR)
    assert process.stdout is not None
    assert process.stdout.readline() == b"begun\n"
    newest = Fernet(vault.keys()[0].encode())
    for _ in range(2000):
        if vault._opens(newest, VaultEntry.objects.order_by("pk")[50]):
            break
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not sealed_with_newest()
    assert {vault.read(entry.pk)["n"] for entry in entries[::50]} == set(range(0, 2000, 50))
    rotate("--no-new-key", "--drop-old")
    assert sealed_with_newest()
    assert len(vault.keys()) == 1


def test_an_entry_no_key_opens_is_named_and_no_key_is_dropped() -> None:
    good = vault.put(None, "cloud", {"n": 1})
    bad = vault.put(None, "key", {"n": 2})
    VaultEntry.objects.filter(pk=bad.pk).update(ciphertext=Fernet(Fernet.generate_key()).encrypt(b"{}"))
    vault.add_key()
    with pytest.raises(CommandError, match=bad.pk.hex):
        rotate("--no-new-key", "--drop-old")
    assert len(vault.keys()) == 2
    assert vault.read(good.pk) == {"n": 1}


def test_an_entry_moved_to_another_row_does_not_open() -> None:
    one, other = vault.put(None, "cloud", {"n": 1}), vault.put(None, "cloud", {"n": 2})
    VaultEntry.objects.filter(pk=one.pk).update(ciphertext=other.ciphertext)
    with pytest.raises(Failed, match="another entry"):
        vault.read(one.pk)


def test_a_lost_key_file_does_not_stop_a_process_that_knows_the_keys(key_file: Path) -> None:
    entry = vault.put(None, "cloud", {"n": 1})
    key_file.unlink()
    assert vault.read(entry.pk) == {"n": 1}
    vault._read = None
    with pytest.raises(Failed, match="cannot be read"):
        vault.read(entry.pk)
