"""Requests that the benchmarks send to a mount, and the formatting of figures."""

import json
import os
import socket
import time

from rptmount import session_processes


def microseconds(ns):
    return f"{ns / 1000:.2f} us"


def milliseconds(seconds):
    return f"{seconds * 1000:.2f} ms"


def gigabytes(size):
    return lambda ns: f"{size / ns:.2f} GB/s"


def ask(m, request):
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(m.control)
        client.sendall(json.dumps(request).encode() + b"\n")
        return client.makefile().read()


def cpu_seconds(m):
    """CPU time of all processes of the mount, including threads that have ended."""
    total = 0
    for pid in session_processes(m.process.pid):
        try:
            total += time.clock_gettime_ns((~pid << 3) | 2)  # CPUCLOCK_SCHED of the process
        except OSError:
            pass
    return total / 1e9


def terms_config(origin, n, refresh_interval='"never"', more=""):
    """n terms in 100 directories, each fetched from the same path of the origin; more: further
    options of their sources."""
    lines = [f"defaults {{ refresh_interval = {refresh_interval} }}\n"]
    for name in map(term_name, range(n)):
        lines.append(f'term "{name}" {{ http {{ url = "{origin.url("/" + name)}" {more} }} }}\n')
    return "".join(lines)


def term_name(i):
    return f"d{i % 100:02}/{i}"


def make_terms(origin, n):
    """Creates the files that terms_config() names."""
    for i in range(n):
        path = os.path.join(origin.root, term_name(i))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(b"content of term %d\n" % i)
