"""What a run on simulated engines sends: conversations, each with its texts, its pauses, and when it may begin."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Turn:
    """One request of a conversation: all that was said before, and this.

    Attributes:
        text: what the user says, or a tool returns.
        tokens: length of the answer; the engine is not let stop earlier.
        pause_s: seconds between the answer before and this request: a tool's run, a user's reading.
    """

    text: str
    tokens: int
    pause_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Conversation:
    """Requests that follow one another, each with the one before and its answer as prefix.

    Attributes:
        system: the system prompt; "": none.
        picture: an image as a `data:` URL, which the first request asks about; "": none.
        turns: its requests.
        starts_s: when it begins, seconds from the start of the run; without effect where a load bounds how many
            conversations are under way.
    """

    system: str
    turns: tuple[Turn, ...]
    starts_s: float = 0.0
    picture: str = ""


@dataclass(frozen=True, slots=True)
class Workload:
    """One run's requests.

    Attributes:
        conversations: in the order in which they begin.
        at_a_time: conversations under way at once, each place taken by the next when one ends; 0: each conversation
            begins at its own time, however many are under way.
    """

    conversations: tuple[Conversation, ...]
    at_a_time: int = 0

    @property
    def requests(self) -> int:
        """Number of requests."""
        return sum(len(conversation.turns) for conversation in self.conversations)
