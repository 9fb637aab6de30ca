"""Terms with known content, and threads that read them all the time."""

import threading

from rptmount import HANGS_S, drop_pages, xattr


def static(*names):
    """Terms that say their names."""
    return "".join(f'term "{name}" {{ static {{ data = "this is {name}" }} }}\n' for name in names)


class Readers:
    """Threads that read terms of static() from the worker while a with block runs.

    .failures: names with other content, and errors. .reads: how many reads there were, about.
    """

    def __init__(self, m, names, n_threads=1):
        self.m, self.names = m, names
        self.failures, self.reads = [], 0
        self.over = threading.Event()
        self.threads = [threading.Thread(target=self._look) for _ in range(n_threads)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        for thread in self.threads:
            thread.join(HANGS_S)

    def _look(self):
        while not self.over.is_set():
            for name in self.names:
                try:
                    with open(self.m.at(name), "rb") as file:
                        drop_pages(file.fileno())
                        if file.read() != b"this is " + name.encode():
                            self.failures.append(name)
                        xattr(file.fileno(), "state")
                except OSError as error:
                    self.failures.append(error)
                self.reads += 1
