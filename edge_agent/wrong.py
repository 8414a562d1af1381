"""The one exception that ends a command with a sentence instead of a traceback."""


class Wrong(Exception):
    """The command cannot be carried out; the message is for the person and names what to do."""
