"""Wrong usage in one line, for every command."""

import argparse
from typing import NoReturn


class ArgumentParser(argparse.ArgumentParser):
    """argparse's, without the synopsis in front of an error. Exits with 2."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}; see {self.prog} --help\n")
