"""What the benchmarks share: rows of figures, processes that never outlive the run, a folder of its own.

A benchmark is a program here that prints one table. Each row says what was measured, our figure, the peer's figure from
the same run, their ratio, the target where the project sets one, and whether it is met. `script/bench` runs all and puts
the rows together: it names a file in BENCH_ROWS, to which each benchmark appends its rows as JSON lines.
"""
import argparse
import atexit
import datetime
import json
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("ZERO_BIN", ROOT / "build/release")).resolve()
SHARE = pathlib.Path(os.environ.get("ZERO_SHARE", ROOT / "build/share")).resolve()
IMAGES = pathlib.Path(os.environ.get("ZERO_IMAGES", ROOT / "build/images")).resolve()
os.environ.update(ZERO_BIN=str(BIN), ZERO_SHARE=str(SHARE), ZERO_IMAGES=str(IMAGES))

COLUMNS = ["what", "ours", "peer", "ratio", "target", "met"]


class Benchmark:
    """One benchmark's rows and everything that has to be gone when it ends, also after Ctrl-C."""

    def __init__(self, name, description, needs=(), options=None):
        arguments = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
        arguments.add_argument("--rounds", type=int, help="how often each thing is measured")
        if options:
            options(arguments)
        self.options = arguments.parse_args()
        self.name, self.rows, self.notes, self._undo = name, [], [], []
        if os.geteuid() != 0:
            sys.exit(f"{name}: needs root (mounts, namespaces, cgroups)")
        missing = [tool for tool in needs if not shutil.which(tool)]
        if missing:
            sys.exit(f"{name}: install {', '.join(missing)} (script/bootstrap does)")
        if not (BIN / "zero").exists():
            sys.exit(f"{name}: no programs in {BIN}; run make build, or set ZERO_BIN")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._stop)
        atexit.register(self.clean)
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"zero-bench-{name}-"))
        self.folder.chmod(0o755)  # daemons with accounts of their own pass through it
        self.undo(lambda: shutil.rmtree(self.folder, ignore_errors=True))

    def _stop(self, number, _):
        sys.exit(128 + number)

    def undo(self, action):
        """Done at the end, the last one first."""
        self._undo.append(action)

    def clean(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        while self._undo:
            try:
                self._undo.pop()()
            except Exception as error:  # the rest must still be undone
                print(f"{self.name}: cleaning up: {error}", file=sys.stderr)

    # Processes and mounts

    def start(self, *words, **more):
        """A process in the background, ended at the end."""
        log = open(self.folder / (pathlib.Path(str(words[0])).name + ".log"), "ab")
        process = subprocess.Popen([str(w) for w in words], stdin=subprocess.DEVNULL, stdout=log, stderr=log, **more)
        self.undo(lambda: stop(process))
        return process

    def run(self, *words, **more):
        """A process to its end; its output. A failure ends the benchmark."""
        more.setdefault("timeout", 300)
        done = subprocess.run([str(w) for w in words], stdin=subprocess.DEVNULL, capture_output=True, text=True, **more)
        if done.returncode != 0:
            sys.exit(f"{self.name}: {' '.join(map(str, words))}: status {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def unmounting(self, path):
        """The mount at `path` is gone at the end."""
        self.undo(lambda: subprocess.run(["umount", "-l", str(path)], capture_output=True))

    # Rows

    def say(self, text):
        """Progress, for people."""
        if sys.stderr.isatty():
            print(f"\r\033[K{self.name}: {text}", end="", file=sys.stderr, flush=True)

    def row(self, what, ours, peer=None, ratio=None, target=None, met=None):
        row = {"what": what, "ours": ours, "peer": peer or "", "ratio": "" if ratio is None else f"{ratio:.2f}",
               "target": target or "", "met": "" if met is None else "yes" if met else "NO"}
        self.rows.append(row)

    def note(self, text):
        """A line below the table."""
        self.notes.append(text)

    def finish(self):
        """Prints the table, and tells `script/bench`."""
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
        print("\n".join([table(self.rows), *self.notes]), flush=True)
        if os.environ.get("BENCH_ROWS"):
            with open(os.environ["BENCH_ROWS"], "a") as file:
                for row in self.rows:
                    file.write(json.dumps(row) + "\n")


def stop(process, seconds=10):
    """Ends a child process."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def table(rows, columns=COLUMNS):
    """Rows as text in columns."""
    cells = [columns] + [[str(row[c]) for c in columns] for row in rows]
    width = [max(len(line[i]) for line in cells) for i in range(len(columns))]
    return "\n".join("  ".join(text.ljust(w) for text, w in zip(line, width)).rstrip() for line in cells)


def machine():
    """One line on what this was measured with."""
    with open("/proc/cpuinfo") as file:
        model = next((line.split(":")[1].strip() for line in file if line.startswith("model name")), os.uname().machine)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    busy = os.getloadavg()[0]
    return (f"{os.cpu_count()} cores ({model}), {memory / (1 << 30):.0f} GiB memory, {os.uname().sysname} {os.uname().release}, "
            f"load {busy:.1f} at the start")


def wait_for(what, condition, seconds=20, step=0.01):
    """Waits until condition() is true; its value."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(step)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def median(values):
    return statistics.median(values)


def spread(values, unit, digits=2):
    """Median, with the extremes: figures are noisy."""
    return f"{median(values):.{digits}f} {unit} ({min(values):.{digits}f}..{max(values):.{digits}f})"


def cpu_seconds(pid):
    """Processor time that a process used, all its threads, those that ended included, to the nanosecond."""
    return time.clock_gettime(((~pid) << 3) | 2)


def memory_kib(pid):
    """Resident and proportional memory of a process."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup") as file:
        for line in file:
            words = line.split()
            if words[0] in ("Rss:", "Pss:"):
                found[words[0]] = int(words[1])
    return found.get("Rss:", 0), found.get("Pss:", 0)


def drop_from_cache(*paths):
    """Makes the kernel forget the contents of these files and of files in these folders; nobody else's."""
    os.sync()
    for path in paths:
        path = pathlib.Path(path)
        for file in [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]:
            descriptor = os.open(file, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def grid(bench):
    """A grid of the integration tests' kind, in the benchmark's folder, gone at the end."""
    sys.path.insert(0, str(ROOT / "Tests/Integration"))
    import grid as grids
    made = grids.Grid(bench.folder / "grid")
    made.folder.mkdir(exist_ok=True)
    bench.undo(lambda: grids.remove(made))
    return made


def hello(cpu):
    """A contract of nginx behind the gateway."""
    expires = datetime.date.today() + datetime.timedelta(days=200)
    return f"""\
contract: hello
expires: {expires}
workloads:
  - container: web
    image: examples/nginx
    cpu: {cpu}
    memory: 128 MiB
    ready: {{ http: "/", port: 80 }}
  - gateway: hello
    to: web:80
"""
