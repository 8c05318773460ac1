"""All tests of this folder need the library lance."""

import pytest

pytest.importorskip("lance", reason="needs lance")
