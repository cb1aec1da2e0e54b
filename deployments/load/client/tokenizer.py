"""Counts tokens by a tokenizer of this machine, for endpoints that do not say theirs."""

from pathlib import Path

from cluster.errors import MissingPackageError, SpecError, SpecProblem
from deployments.load.client.endpoint import CountTokens


def token_counter(path: Path) -> CountTokens:
    """Return what counts the tokens of a text.

    Args:
        path: a `tokenizer.json`, or the folder of a model that has one.

    Raises:
        MissingPackageError: the package is not installed.
        SpecError: there is no tokenizer.
    """
    try:
        from tokenizers import Tokenizer  # noqa: PLC0415 - optional
    except ImportError as error:
        raise MissingPackageError("--tokenizer needs a package: pip install 'rackserve[bench]'") from error
    file = path / "tokenizer.json" if path.is_dir() else path
    try:
        tokenizer = Tokenizer.from_file(str(file))
    except Exception as error:  # the package raises Exception itself
        raise SpecError("--tokenizer", [SpecProblem(str(file), f"it is no tokenizer: {error}")]) from error

    def count(text: str) -> int:
        return len(tokenizer.encode(text, add_special_tokens=False).ids)

    return count
