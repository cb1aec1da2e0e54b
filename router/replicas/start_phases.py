"""What the seconds of a replica's start went to."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartPhases:
    """Seconds of a start, by what they were for. They add up to the whole start of the engine.

    Attributes:
        download_s: fetching weights.
        load_s: reading weights from disk, and all that is none of the others.
        compile_s: compiling kernels.
        warm_up_s: the engine's own trial runs, and first requests that nobody waits for.
    """

    download_s: float = 0.0
    load_s: float = 0.0
    compile_s: float = 0.0
    warm_up_s: float = 0.0

    @property
    def total_s(self) -> float:
        """Seconds of the whole start."""
        return self.download_s + self.load_s + self.compile_s + self.warm_up_s

    def in_words(self) -> str:
        """Return them for people, without those that took no time."""
        parts = {
            "download": self.download_s,
            "load": self.load_s,
            "compile": self.compile_s,
            "warm-up": self.warm_up_s,
        }
        told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in parts.items() if round(seconds, 1) > 0)
        return told or "no time"
