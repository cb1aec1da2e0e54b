"""Names that apps put in `"model"`: of models and of adapters."""

import re

MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]{0,127}")


def checked_name(value: str) -> str:
    """Return a name that may be one.

    Raises:
        ValueError: it may not.
    """
    if not MODEL_NAME.fullmatch(value):
        raise ValueError("letters, digits and . _ : / - only, starting with a letter or digit, at most 128")
    return value
