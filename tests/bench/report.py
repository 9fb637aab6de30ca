"""Writes what tests/bench/run --peers measured as JSON, as a page of Markdown, and as a plot (SVG).

A cell is {"median", "low", "high"} (quartiles) in the unit of its row, optionally with "ratio", the
same three for the time relative to the native file in the same round; or {"value"} for a single
value; or {"none"} with the reason. "bytes" is the number of bytes read in that time, "text" a remark.
"""

import json
import math
import os
import platform
import shutil
import statistics
import subprocess

SCALES = {
    "ns": [(1, "ns"), (1e3, "µs"), (1e6, "ms"), (1e9, "s")],
    "B": [(1, "B"), (1e3, "kB"), (1e6, "MB"), (1e9, "GB")],
    "B/s": [(1e6, "MB/s"), (1e9, "GB/s")],
    "": [(1, "")],
}

BY_PAGE = "native, 4 KiB folios"  # a column of the rows of large files
YARDSTICKS = ("native", "tmpfs", BY_PAGE)

NOTES = (
    "Each file is at a path of the same depth. Warm rows: after a warm-up right before each measurement.",
    "The native large file was written in order right before, in pieces of 1 MiB, which gives it the "
    "largest folios; its copy beside it was read into the page cache page by page.",
    "Page cache dropped: the native file comes from its disk, rptfs reads its store, and the peers "
    "their cache directory, all on the same disk.",
    "Messages are the requests that the kernel sent to the daemon for one operation, counted with the "
    "tracepoint fuse_request_send; FORGET, which no process waits for, is not counted.",
    "First read after an update: open, fstat, read all, close, by a process on a core of its own that "
    "had read the old version and then slept for at least 15 ms. Busy: it had read another file in a "
    "loop right before. Native and tmpfs: another process wrote and synced the new version and renamed "
    "it over the name. rptfs: a refresh reported success. Peers: the first look that shows the version.",
    "Update to reader: from the moment when the origin has the version to the end of the first look that "
    "shows it; the reader looks all the time. rptfs is asked to refresh at that moment (otherwise "
    "refresh_interval decides), and watches a local file. Each look at a peer asks the origin.",
    "The origins are nginx and Ceph radosgw on the same machine.",
)


def summary(samples):
    """The median and the quartiles of samples."""
    low, median, high = quartiles(samples)
    return {"median": median, "low": low, "high": high}


def quartiles(samples):
    if len(samples) == 1:
        return samples * 3
    low, _, high = statistics.quantiles(samples, n=4, method="inclusive")
    return low, statistics.median(samples), high


def compared(took):
    """Returns a cell for each column: its samples, and their ratios to the native ones."""
    cells = {}
    for name, samples in took.items():
        cells[name] = summary(samples)
        for yardstick in YARDSTICKS:
            if yardstick in took and name not in ("native", yardstick):
                ratios = [own / other for own, other in zip(samples, took[yardstick])]
                cells[name]["ratio" if yardstick == "native" else f"ratio to {yardstick}"] = summary(ratios)
    return cells


def messages(counted, times):
    """Returns a cell: how many messages one operation caused, and their names."""
    each = {name: n / times for name, n in sorted(counted.items()) if n / times >= 0.05}
    return {"value": round(sum(each.values()), 1), "text": ", ".join(each)}


def memory_bytes(pids, what):
    """Sum over the processes. what: "Rss", or "Pss", which counts shared pages only once."""
    total = 0
    for pid in pids:
        with open(f"/proc/{pid}/smaps_rollup", encoding="utf-8") as file:
            total += next(int(line.split()[1]) * 1024 for line in file if line.startswith(what + ":"))
    return total


def binary(size):
    return f"{size >> 20} MiB" if size >> 20 else f"{size >> 10} KiB"


def significant(value):
    """Three digits, and no more than needed."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"


def scale_of(value, unit):
    return next(scale for scale in reversed(SCALES[unit]) if value >= scale[0] or scale is SCALES[unit][0])


def show(value, unit):
    factor, name = scale_of(value, unit)
    return f"{significant(value / factor)} {name}".strip()


def show_span(cell, unit):
    factor, _ = scale_of(cell["median"], unit)
    return f"{significant(cell['low'] / factor)}–{significant(cell['high'] / factor)}"


def show_cell(cell, unit, line_break="<br>"):
    if cell is None:
        return "–"
    if "none" in cell:
        return cell["none"]
    if "value" in cell:
        value = f"{cell['value']:g}" if unit == "" else show(cell["value"], unit)
        return f"{value}{line_break}({cell['text']})" if cell.get("text") else value
    text = show(cell["median"], unit)
    if "bytes" in cell:
        text += f", {show(cell['bytes'] / cell['median'] * 1e9, 'B/s')}"
    if line_break == "<br>":
        text = f"**{text}**"
    ratio = cell.get("ratio")
    if ratio:
        span = f"{significant(ratio['low'])}–{significant(ratio['high'])}"
        return f"{text}{line_break}×{significant(ratio['median'])} ({span})"
    return f"{text}{line_break}({show_span(cell, unit)})"


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    with open("/proc/meminfo", encoding="ascii") as file:
        memory = int(file.readline().split()[1]) * 1024
    system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    return {
        "cores": os.cpu_count(),
        "cpu": models[0] if models else platform.machine(),
        "memory_bytes": memory,
        "kernel": platform.release(),
        "system": system,
    }


def table(columns, rows):
    lines = ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    return lines + ["| " + " | ".join(row) + " |" for row in rows]


def markdown(results):
    on, columns = results["machine"], results["columns"]
    lines = [
        "# rptfs beside the native file system and its peers",
        "",
        f"Measured in one run by `tests/bench/run --peers{' --quick' if results['quick'] else ''}` on "
        f"{results['date']}: {on['cores']} cores ({on['cpu']}), {on['memory_bytes'] / 2**30:.0f} GiB, "
        f"Linux {on['kernel']}, {on['system']}; rptfs {results['version']}. Medians; ×N is the time "
        f"relative to the native file ({results['native']}) in the same round, below 1 is faster; "
        "quartiles in brackets.",
        "",
    ]
    shown = {name: f"{name} ({results['native']})" if name == "native" else name for name in columns}
    rows = [
        [row["what"], *(show_cell(row["cells"].get(name), row["unit"]) for name in columns)]
        for row in results["rows"]
    ]
    lines += table(shown.values(), rows)
    if results["values"]:
        lines += ["", "A value that a program keeps at hand, nothing having changed:", ""]
        rows = [[row["what"], show_cell(row["cell"], "ns", " ")] for row in results["values"]]
        lines += table(["time"], rows)
    lines += ["", "## Expected", ""]
    rows = [[e["what"], e["limit"], e["measured"], e["verdict"]] for e in results["expected"]]
    lines += table(["expected", "measured", ""], rows)
    lines += ["", "## Caching options of the peers", ""]
    rows = [
        [name, peer["version"], *(code(peer.get(mode, "–")) for mode in ("warm", "fresh"))]
        for name, peer in results["peers"].items()
    ]
    lines += table(["version", "for the rows of warm files", "for updates"], rows)
    lines += [""] + [f"- {note}" for note in (*NOTES, *results["notes"])]
    return "\n".join(lines) + "\n"


def code(text):
    return f"`{text}`" if text.startswith("-") else text


PLOT = """
set terminal svg size {width},{height} dynamic font "sans-serif,13" background "#ffffff"
set output "{output}"
set multiplot layout 1,{panels}
set logscale x
set format x "%g"
set xlabel "µs (logarithmic)" textcolor rgb "#555555"
set ytics nomirror scale 0 textcolor rgb "#222222"
set xtics nomirror scale 0.5 textcolor rgb "#555555"
set mxtics 1
set border 1 lc rgb "#999999"
set grid xtics lc rgb "#dddddd" lw 1 lt 1
set lmargin 13
set rmargin 4
unset key
set style fill solid 1.0 noborder
"""

PANEL = """
$data{n} << EOD
{data}
EOD
set title "{title}" font "sans-serif,15" textcolor rgb "#222222"
set xrange [{least}:{most}]
set yrange [{bottom}:0.6]
plot $data{n} using 2:1:({least}):2:($1-0.34):($1+0.34):4:ytic(3) with boxxyerror lc rgb variable, \\
     $data{n} using 2:1:5 with labels left offset 0.7,0 textcolor rgb "#222222" notitle
"""

PLOTTED = ("open + read 4 KiB + close", "first read after an update, 4 KiB")
COLORS = {"rptfs": 0x1F77B4, "native": 0x8A9597, "tmpfs": 0x8A9597}
PEER_COLOR = 0xD98C3F


def panel(n, results, row):
    """One bar for each column of the table, from top to bottom."""
    data, values = [], []
    for name, cell in row["cells"].items():
        if "median" not in cell:
            continue
        microseconds = cell["median"] / 1000
        label = results["native"] if name == "native" else name
        if microseconds < 1000:
            text = f"{significant(microseconds)} µs"
        else:
            text = f"{significant(microseconds / 1000)} ms"
        color = COLORS.get(name, PEER_COLOR)
        data.append(f'{-len(data)} {microseconds} "{label}" {color} "{text}"')
        values.append(microseconds)
    return PANEL.format(
        n=n,
        title=row["what"],
        least=10 ** math.floor(math.log10(min(values) / 1.5)),
        most=max(values) * 12,  # room for the label
        bottom=-len(data) + 0.4,
        data="\n".join(data),
    )


def plot(results, path):
    """Returns False if gnuplot is not installed."""
    rows = [row for row in results["rows"] if row["what"] in PLOTTED]
    if not shutil.which("gnuplot") or not rows:
        return False
    height = 110 + 38 * len(results["columns"])
    script = PLOT.format(width=480 * len(rows), height=height, output=path, panels=len(rows))
    script += "".join(panel(n, results, row) for n, row in enumerate(rows))
    subprocess.run(["gnuplot"], input=script, text=True, check=True, timeout=60)
    return True


def write(results, directory):
    """Writes the files and returns their paths."""
    os.makedirs(directory, exist_ok=True)
    files = [os.path.join(directory, f"peers.{ending}") for ending in ("md", "json", "svg")]
    with open(files[0], "w", encoding="utf-8") as file:
        file.write(markdown(results))
    with open(files[1], "w", encoding="utf-8") as file:
        json.dump(results, file, indent=1, ensure_ascii=False)
        file.write("\n")
    return files if plot(results, files[2]) else files[:2]
