"""Real clouds to test providers against, started once a run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import dockerd


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[dockerd.Engine]:
    """A Docker Engine with one image, shared by all processes of the run; without one the test is skipped by name."""
    base: Path = tmp_path_factory.getbasetemp()
    folder = base.parent if hasattr(request.config, "workerinput") else base
    if reason := dockerd.why_not():
        pytest.skip(f"no Docker Engine: {reason}")
    with dockerd.engine(folder / "docker-engine") as engine:
        yield engine
