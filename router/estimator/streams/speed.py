"""A pool's stream speed: what streams that run on one of its replicas cost each other, and what prefill there costs.

An outcome is one stream from its first token to its last, with the prompt tokens that the replica computed meanwhile.
"""

from typing import Final, final

from router.estimator.learning.fading_mean import FadingMean
from router.estimator.learning.least_squares import nonnegative_fit
from router.estimator.streams.scatter import StreamScatter

KEEP: Final = 0.98
"""Share of the earlier streams' weight that each new one leaves: in effect the last 50 streams count."""
LEAST_TOKENS: Final = 4
"""Length below which a stream says nothing of its speed: its last tokens come together."""
PRIOR_TOKENS: Final = 32.0
"""Tokens of the one stream that the prior counts as."""
PRIOR_TOKEN_S: Final = 0.01
"""Seconds a token that are assumed before a stream has ended: a mid-size model on one data-centre GPU."""
LEAST_TOKEN_S: Final = 1e-5
"""Seconds that a token takes at least: what no term is learned for is not free."""
PRIOR_PER_RUNNING_S: Final = 1e-4
"""Seconds that one more running stream is assumed to add to each token, until streams have told."""
PRIOR_LENGTH: Final = 256.0
"""Tokens that a stream is assumed to have until streams have told."""
FIT_EVERY: Final = 4
"""Streams after which the line is fitted again."""


@final
class StreamSpeed:
    """Seconds of a stream = tokens · (`token_s` + running · `per_running_s`) + prefilled · the stop for each of them.

    Fitted by least squares over exponentially weighted streams, with no term below 0. What was not seen yet keeps the
    prior. The stops are fitted so that they are not taken for slow tokens.

    Attributes:
        token_s: seconds that one token of a stream takes that runs alone.
        per_running_s: seconds that each stream beside it adds to a token.
        stop_s: seconds by which a prompt token that is computed meanwhile stops the streams.
        scatter: how far streams are from the time that is expected of them.
    """

    __slots__ = (
        "_lengths",
        "_moments",
        "_prompts",
        "_streams",
        "_xy",
        "per_running_s",
        "scatter",
        "stop_s",
        "token_s",
    )

    def __init__(self) -> None:
        self.token_s = PRIOR_TOKEN_S
        self.per_running_s = PRIOR_PER_RUNNING_S
        self.stop_s = 0.0
        self.scatter = StreamScatter()
        self._lengths = FadingMean(PRIOR_LENGTH, 1.0)
        self._prompts = FadingMean(0.0, 1.0)
        self._streams = 0
        self._moments = [0.0] * 6
        self._xy = [0.0] * 3

    def learn(self, duration_s: float, tokens: float, running: float, prefilled: float, s_per_token: float) -> None:
        """Learn from a stream that came to its end.

        Args:
            duration_s: seconds from its first token to its last.
            tokens: its tokens after the first.
            running: streams that ran beside it, about.
            prefilled: prompt tokens that the replica computed meanwhile.
            s_per_token: seconds that the replica takes to compute one prompt token: the prior of how long each
                stops the streams.
        """
        if tokens < LEAST_TOKENS:
            return
        self.scatter.learn(duration_s / tokens / self.mixed_s(running + 1))
        self._lengths.observe(tokens + 1, 1.0, KEEP)
        self._prompts.observe(prefilled, tokens * (running + 1.0), KEEP)
        moments, xy = self._moments, self._xy
        beside = tokens * running
        seen = tokens * tokens, tokens * beside, tokens * prefilled, beside * beside, beside * prefilled, prefilled**2
        for at, value in enumerate(seen):
            moments[at] = KEEP * moments[at] + value
        for at, value in enumerate((tokens, beside, prefilled)):
            xy[at] = KEEP * xy[at] + value * duration_s
        self._streams += 1
        if self._streams < FIT_EVERY or not self._streams % FIT_EVERY:
            self._fit(s_per_token)

    def each_s(self, running: int) -> float:
        """Return the seconds that a token takes while `running` streams run and no prompt is computed."""
        return max(LEAST_TOKEN_S, self.token_s + running * self.per_running_s)

    def stopped_s(self, tokens: float, s_per_token: float) -> float:
        """Return the seconds by which prompt tokens that are computed there stop the streams.

        The time that streams have to spare is told by the same fit. Where that takes too much of the time for stops and
        too little for tokens, the two together are still right. It is no less than the prompt's own time.

        Args:
            tokens: prompt tokens.
            s_per_token: seconds that the replica takes to compute one.
        """
        return tokens * max(self.stop_s, s_per_token)

    @property
    def per_stream_s(self) -> float:
        """Seconds that each stream of a replica adds to a token of all: by its own tokens, and by its prompt.

        Streams that end make room for others, whose prompts are computed between the tokens of those that stay.
        """
        return self.per_running_s + self._prompts.mean * self.stop_s

    def mixed_s(self, running: float) -> float:
        """Return the seconds that a token is expected to take among `running` streams whose prompts are computed there.

        Args:
            running: streams that run, the token's own included.
        """
        return max(LEAST_TOKEN_S, self.token_s + (running - 1.0) * self.per_stream_s)

    @property
    def mean_tokens(self) -> float:
        """Mean length of its streams, in tokens."""
        return self._lengths.mean

    def _fit(self, s_per_token: float) -> None:
        moments, xy = self._moments, self._xy
        # The prior: for each term one stream in which that term alone was seen.
        squared = PRIOR_TOKENS**2
        matrix = [
            [moments[0] + squared, moments[1], moments[2]],
            [moments[1], moments[3] + squared, moments[4]],
            [moments[2], moments[4], moments[5] + squared],
        ]
        right = [
            xy[0] + squared * PRIOR_TOKEN_S,
            xy[1] + squared * PRIOR_PER_RUNNING_S,
            xy[2] + squared * s_per_token,
        ]
        self.token_s, self.per_running_s, self.stop_s = nonnegative_fit(matrix, right)
