"""How this project refuses: one sentence."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def refusal(call: Callable[[], object]) -> str:
    """The one sentence of the ValueError with which ``call`` is refused."""
    with pytest.raises(ValueError) as error:
        call()
    message = str(error.value)
    assert message.endswith(".") and "\n" not in message
    return message
