"""What is wrong with a form that an answer is to have."""


class UnfitError(ValueError):
    """No answer of the form was found, or the form itself is wrong; the message says why."""
