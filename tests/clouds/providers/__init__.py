"""Providers, each against the real thing it drives, all through one `ProviderContract`."""

import pytest

pytest.register_assert_rewrite(f"{__name__}.contract")
