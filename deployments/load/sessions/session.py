"""What one user, or one agent, sends: calls that follow one another, each with all before it as its beginning."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Call:
    """One request of a session.

    Attributes:
        text: what is new in it: what a user says, or a tool returns.
        output_tokens: length of the answer; the engine is asked not to stop earlier.
        pause_s: seconds between the answer before and this request: a user's reading, a tool's run.
        helpers: sub-agents that run at once before it, and whose last answers go in front of its text.
    """

    text: str
    output_tokens: int
    pause_s: float = 0.0
    helpers: tuple["Session", ...] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """Requests of one user or agent.

    Attributes:
        calls: its requests, one or more.
        system: what its first request begins with, shared with other sessions; "": nothing.
        begins_s: when it begins, seconds from the start; without effect where a load bounds how many are under way.
        model: the model it asks for; "": the run's.
        stream: number of its stream in the load, from 0.
    """

    calls: tuple[Call, ...]
    system: str = ""
    begins_s: float = 0.0
    model: str = ""
    stream: int = field(default=0, kw_only=True)

    @property
    def requests(self) -> int:
        """Number of its requests, those of its sub-agents included."""
        return sum(1 + sum(helper.requests for helper in call.helpers) for call in self.calls)
