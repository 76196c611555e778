"""What stops a run before its last step, said in one line."""


class RunError(Exception):
    """What stops a run; its message is one line.

    Attributes:
        code: what the process exits with.
        alone: whether other processes of the run may know nothing of it, and wait.
    """

    def __init__(self, message: str, code: int = 1, alone: bool = False):
        super().__init__(message)
        self.code, self.alone = code, alone


class OptionError(RunError, ValueError):
    """An option that does not fit the machine, the packages or the folder."""


def first_line(error: BaseException, longest: int = 160) -> str:
    """Shorten an error of another library to one line."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= longest else text[:longest] + "..."
