"""Tests of the C++ backend need its library, and so a compiler or a build that is already there."""

from __future__ import annotations

import pytest

from attnorm.layers.kernels import library


@pytest.fixture
def cpp_library() -> None:
    """Builds or loads the library; skips the test, and says why, on a machine that can do neither."""
    if reason := library.refusal():
        pytest.skip(reason)


@pytest.fixture(autouse=True)
def _skip_missing_backend(request: pytest.FixtureRequest) -> None:
    """The same for tests that are parametrised over backends."""
    callspec = getattr(request.node, "callspec", None)
    if callspec is not None and callspec.params.get("backend") == "cpp":
        request.getfixturevalue("cpp_library")
