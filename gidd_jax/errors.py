"""The one exception for what a user can mend: bad input, bad usage, a directory that does not fit."""


class InputError(ValueError):
    """Something the user gave is wrong; the message is one line saying what, where, and what to do.

    The command prints it on stderr and exits with status 2; nothing is half-written when it is raised.
    """
