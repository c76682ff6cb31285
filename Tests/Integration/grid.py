"""A local grid as a user sees it: the program `zero`, its exit status and output; and the processes behind it."""
import hashlib
import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BIN = pathlib.Path(os.environ.get("ZERO_BIN", ROOT / "build/debug"))
IMAGES = pathlib.Path(os.environ.get("ZERO_IMAGES", ROOT / "build/images"))
CONTROL = ["identity", "ledger", "storage", "network", "compute", "gateway", "provision"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def bus(path, verb, body=None, timeout=10):
    """One request on a bus socket. Returns the decoded reply; raises BusError for an error reply."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        words = [verb.encode(), json.dumps(body or {}).encode()]
        connection.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(w), w) for w in words))
        stream = connection.makefile("rb")
        head = stream.readline().rstrip()
        if head[:1] == b"-":
            raise BusError(head[1:].decode())
        if head[:1] != b"$":
            return head.decode()
        text = stream.read(int(head[1:]))
        try:
            return json.loads(text)
        except ValueError:
            return text.decode()


class BusError(Exception):
    @property
    def code(self):
        return str(self).split(" ")[0]


def wait_for(what, condition, timeout=20, step=0.05):
    """Waits until condition() is true and returns its value; the failure names `what`."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < end, f"not within {timeout} s: {what}"
        time.sleep(step)


class Grid:
    def __init__(self, folder, **options):
        self.folder = pathlib.Path(folder)
        self.home = self.folder / "home"
        self.root = self.folder / "grid"
        self.http_port, self.ledger_port = free_port(), free_port()
        self.options = options
        self.tags = set()
        tag = hashlib.sha256(str(self.root).encode()).hexdigest()[:8]
        self.run = pathlib.Path(f"/run/zero/{tag}/node-1")
        self.state = self.root / "node-1"
        # What the caller exported for its own grid is not for this one.
        outside = {name: value for name, value in os.environ.items() if not name.startswith("ZERO_")}
        self.env = dict(
            outside, ZERO_HOME=str(self.home), ZERO_PASSPHRASE="correct horse", PATH=f"{BIN}:{os.environ['PATH']}", NO_COLOR="1",
            ZERO_SHARE=os.environ.get("ZERO_SHARE", str(ROOT / "build/share")))

    # The command line

    def zero(self, *words, check=True, timeout=120, input=None, env=None):
        result = subprocess.run(
            [str(BIN / "zero"), *map(str, words)], env=dict(self.env, **(env or {})), capture_output=True, text=True,
            timeout=timeout, input=input if input is not None else "")
        contracts = self.state / "network/contracts"
        if contracts.exists():
            self.tags |= {p.name[:8] for p in contracts.glob("*.json")}
        if check:
            assert result.returncode == 0, f"zero {' '.join(map(str, words))}: {result.returncode}\n{result.stdout}\n{result.stderr}"
        return result

    def json(self, *words, **more):
        return json.loads(self.zero(*words, "-o", "json", **more).stdout)

    def up(self, *more):
        if not (self.home / "identities").exists():
            self.zero("identity", "new", "default")
        words = ["up", "--grid", self.root, "--http-port", self.http_port, "--ledger-port", self.ledger_port]
        for name, value in self.options.items():
            words += ["--" + name.replace("_", "-"), value]
        return self.zero(*words, *more)

    def down(self, *more, check=True):
        return self.zero("down", "--grid", self.root, *more, check=check)

    def image(self, name, folder):
        return self.zero("image", "import", IMAGES / folder, "--name", name, "--public", timeout=300)

    def contract(self, text, name="contract.yaml"):
        path = self.folder / name
        path.write_text(text)
        return path

    # The processes

    def units(self):
        return {u["name"].rstrip("@") + ("@" + u["instance"] if u.get("instance") else ""): u
                for u in bus(self.run / "core.sock", "CORE.STATUS")["units"]}

    def spaces(self, kind="zc"):
        """Network namespaces of this grid's contracts (zc) or containers (zw), by what the network daemon recorded."""
        folder = self.state / "network/contracts"
        tags = {p.name[:8] for p in folder.glob("*.json")} if folder.exists() else set()
        return [p for p in sorted(pathlib.Path("/run/netns").glob(kind + "-*")) if p.name.split("-")[1] in tags]

    def is_back(self, unit, old):
        """Whether the unit runs as another process than `old`."""
        entry = self.units().get(unit, {})
        return entry.get("state") == "running" and entry.get("pid") not in (None, old)

    def pid(self, unit):
        return self.units()[unit]["pid"]

    def watcher(self):
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            words = command_line(entry)
            if words and words[0].endswith("zero-watch") and str(self.state) in words:
                return int(entry.name)
        return None

    def processes(self):
        """Every process whose command line names this grid."""
        found = {}
        for entry in pathlib.Path("/proc").glob("[0-9]*"):
            words = command_line(entry)
            if words and int(entry.name) != os.getpid() and any(
                    str(self.state) in w or str(self.run) in w for w in words):
                found[int(entry.name)] = words
        return found

    def kill_everything(self):
        """What a power cut does to processes: all of the grid's, and all in its containers, at once."""
        namespaces = {path.stat().st_ino for path in self.spaces() + self.spaces("zw")}
        for _ in range(20):
            victims = set(self.processes())
            for entry in pathlib.Path("/proc").glob("[0-9]*"):
                try:
                    if (entry / "ns/net").stat().st_ino in namespaces:
                        victims.add(int(entry.name))
                except OSError:
                    continue
            if not victims:
                return
            for pid in victims:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            time.sleep(0.05)
        raise AssertionError(f"still alive: {self.processes()}")

    # The page

    def get(self, host, path="/", timeout=10):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        try:
            connection.request("GET", path, headers={"Host": f"{host}.localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()

    def routes(self):
        """What the running proxy has: hosts, and the servers that take requests. For messages of failed tests."""
        def ask(question):
            with socket.socket(socket.AF_UNIX) as admin:
                admin.settimeout(5)
                admin.connect(str(self.run / "gateway/admin/admin.sock"))
                admin.sendall(question.encode() + b"\n")
                return admin.makefile().read()
        servers = [line for line in ask("show servers state").splitlines() if " 127.0.0.1 " not in line]
        return "\n".join([ask(f"show map {self.run}/gateway/hosts.map"), *servers])

    def post(self, host, path, body, timeout=10):
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=timeout)
        try:
            connection.request("POST", path, body=body, headers={"Host": f"{host}.localhost"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode(errors="replace")
        finally:
            connection.close()


def command_line(entry):
    try:
        return (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
    except OSError:
        return None


class Hammer:
    """Requests a page again and again from another thread and remembers what failed."""

    def __init__(self, grid, host):
        self.grid, self.host = grid, host
        self.count, self.failures = 0, []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self):
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                status, _ = self.grid.get(self.host, timeout=10)
                if status != 200:
                    self.failures.append((time.strftime("%X"), status))
            except OSError as error:
                self.failures.append((time.strftime("%X"), repr(error), round(time.monotonic() - started, 2)))
            self.count += 1
            time.sleep(0.01)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join(15)


def control_group(container):
    """A control group of a container. Looked up by its place: groups of others come and go while one searches."""
    for base in ("pids", "unified", "."):
        path = pathlib.Path("/sys/fs/cgroup") / base / "zero" / container
        if path.exists():
            return path
    raise AssertionError(f"{container} has no control group")


def traces(grid):
    """Namespaces, links and cgroups on this machine that belong to contracts which the grid ever ran."""
    spaces = {p.name for p in pathlib.Path("/run/netns").glob("z[cw]-*")} if os.path.isdir("/run/netns") else set()
    links = {n for n in os.listdir("/sys/class/net") if n.startswith("zl")}
    groups = subprocess.run("find /sys/fs/cgroup -type d -path '*/zero/*' 2>/dev/null", shell=True, capture_output=True, text=True).stdout
    return sorted(t for t in spaces | links | set(groups.split()) if any(tag in t for tag in grid.tags))


def leftovers(grid):
    """What a stopped grid must not leave: processes, mounts, namespaces, links, rules, cgroups, loop devices."""
    found = {}
    if grid.processes():
        found["processes"] = grid.processes()
    mounts = [line.split()[4] for line in open("/proc/self/mountinfo")]
    mine = [m for m in mounts if m.startswith(str(grid.root)) or m.startswith(str(grid.run.parent))]
    if mine:
        found["mounts"] = mine
    if traces(grid):
        found["namespaces, links, cgroups"] = traces(grid)
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True).stdout
    if grid.run.parent.name in tables:
        found["tables"] = tables
    loops = subprocess.run(["losetup", "-l", "-n", "-O", "BACK-FILE"], capture_output=True, text=True).stdout
    if str(grid.root) in loops:
        found["loops"] = loops
    return found


def remove(grid):
    grid.down("--purge", "--yes", check=False)
    if grid.processes():
        grid.kill_everything()
    shutil.rmtree(grid.folder, ignore_errors=True)


HELLO = """\
contract: {name}
expires: 2027-06-01
network: {{ range: {range} }}
workloads:
  - container: web
    image: examples/nginx
    cpu: 0.5
    memory: 128 MiB
    ready: {{ http: "/", port: 80 }}
  - gateway: {gateway}
    to: web:80
"""


def hello(name="hello", gateway=None, range="10.42.0.0/16"):
    return HELLO.format(name=name, gateway=gateway or name, range=range)
