"""Answer pickled requests on the standard input, one after another, on the standard output."""

import os
import pickle
import sys

from verification.peers.side.answers import Side


def main() -> None:
    """Answer until the requests end; what a peer prints must not get among the answers."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    side = Side(sys.argv[1])
    while True:
        try:
            request = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(side.answer(request), answers)
        answers.flush()


if __name__ == "__main__":
    main()
