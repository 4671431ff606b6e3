"""The one exception that is meant for the person at the keyboard."""


class UserError(Exception):
    """What is wrong; how to mend it. Always a single line.

    Scripts print it to stderr without a traceback and exit with code 2.
    """

    def __init__(self, message: str):
        super().__init__(" ".join(message.split()))
