"""Real clouds to test providers against, started once a run."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab import dockerd


@pytest.fixture(scope="session")
def shared_docker_engine(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[dockerd.Engine]:
    """A Docker Engine with one image, shared by all processes of the run; without one the test is skipped by name."""
    base: Path = tmp_path_factory.getbasetemp()
    folder = base.parent if hasattr(request.config, "workerinput") else base
    if reason := dockerd.why_not():
        pytest.skip(f"no Docker Engine: {reason}")
    with dockerd.engine(folder / "docker-engine") as engine:
        yield engine


@pytest.fixture
def docker_engine(shared_docker_engine: dockerd.Engine) -> Iterator[dockerd.Engine]:
    """The engine for one test alone: tests of other processes wait, and find it as empty as this one did."""
    with (shared_docker_engine.folder / "turn").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield shared_docker_engine
