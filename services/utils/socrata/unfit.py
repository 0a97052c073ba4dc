"""What a column would refuse or lose."""


class Unfit(ValueError):
    """A value that its column would refuse or lose. The text is the rule, never the value."""
