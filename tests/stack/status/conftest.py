"""Where the stack is not installed, nothing of this can run."""

import pytest

pytest.importorskip("starlette", reason="the extra 'stack' is not installed")
