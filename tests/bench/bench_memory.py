"""Idle memory of the whole stack, as `make run` starts it: ≤ 600 MB (PSS), after a sign-in and with one cloud.

PSS counts a page shared by n processes as 1/n of it in each: the sum is what the stack really takes.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from tests.bench import harness
from tests.ops.stack import Stack

BAR_MB = 600
SETTLE_S = 45  # canaries, ticks and polls have gone round; idle connections are still open
ONE_CLOUD = """
from accounts.models import User
from clouds.models import Cloud
from core.actions import perform
from core.actor import Actor
user = User.objects.get()
actor = Actor(org_id=user.orgs.get().pk, user_id=user.pk, is_admin=True, email=user.email)
perform(actor, Cloud, "create", {"name": "demo", "provider": "demo", "credentials": {"machines": 50, "seed": 1}})
"""


def pss_mb(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="mist-bench-") as folder:
        Path(folder).chmod(0o755)
        stack = Stack(
            Path(folder) / "home",
            DJANGO_SETTINGS_MODULE="mist.settings",
            MIST_ADMIN_EMAIL="ann@example.org",
            MIST_ADMIN_PASSWORD="correct-horse-7",
        )
        try:
            print(f"     ready after {stack.start():.1f} s")
            status, _ = stack.post("/api/v2/auth/sessions", {"email": "ann@example.org", "password": "correct-horse-7"})
            assert status == 200, status
            stack.manage("shell", "-v0", "-c", ONE_CLOUD)
            time.sleep(SETTLE_S)
            parts = [(pss_mb(pid), Path(f"/proc/{pid}/comm").read_text().strip()) for pid in stack.family()]
            for name in sorted({name for _, name in parts}):
                of_name = [mb for mb, other in parts if other == name]
                print(f"     {name:16} {len(of_name):2} × {sum(of_name):6.1f} MB")
            harness.report("idle memory of the whole stack (PSS)", sum(mb for mb, _ in parts), BAR_MB, "MB")
            stack.stop()
        finally:
            stack.kill()
    harness.finish()


if __name__ == "__main__":
    main()
