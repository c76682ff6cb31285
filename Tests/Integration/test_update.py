"""A change of a contract that runs: nobody notices the good one, and the bad one harms nobody."""
import http.client
import os
import time

import pytest

from grid import Hammer, wait_for

CONTRACT = """\
contract: hello
expires: 2027-06-01
network: {{ range: 10.42.0.0/16 }}
workloads:
{volume}  - container: web
    image: examples/nginx
    cpu: 0.5
    memory: 128 MiB
{more}    ready: {{ http: "/", port: 80 }}
    env: {{ COLOUR: {colour} }}
  - gateway: hello
    to: web:80
"""


def page(grid, colour, more="", volume=""):
    text = CONTRACT.format(colour=colour, more="".join(f"    {m}\n" for m in [more] if m), volume=volume)
    return grid.contract(text)


def containers(grid):
    """Ids of the containers on the node, and the namespaces of this grid's containers."""
    shims = [name for name in grid.units() if name.startswith("shim@")]
    return sorted(name.split("-", 1)[1] for name in shims), [p.name.split("-", 2)[2] for p in grid.spaces("zw")]


def colour(grid):
    return grid.zero("exec", "hello", "--", "printenv", "COLOUR").stdout.strip()


@pytest.fixture
def page_grid(shared):
    shared.zero("deploy", page(shared, "red"), "--yes")
    begun = time.monotonic()
    status = shared.get("hello")[0]
    assert status == 200, f"{status} after {time.monotonic() - begun:.2f} s: {shared.routes()}"
    yield shared
    shared.zero("delete", "hello", "--yes", check=False)


class PostHammer(Hammer):
    """Sends what the proxy must not send twice. nginx refuses it, which is an answer of nginx."""

    def _run(self):
        while not self._stop.is_set():
            try:
                status, _ = self.grid.post(self.host, "/", "x" * 1000)
                if status != 405:
                    self.failures.append((time.strftime("%X"), status))
            except OSError as error:
                self.failures.append((time.strftime("%X"), repr(error)))
            self.count += 1


def only(grid, instance):
    wait_for(f"only {instance} is left", lambda: containers(grid) == ([instance], [instance]), 20)


def test_an_update_fails_no_request(page_grid):
    grid = page_grid
    assert colour(grid) == "red"
    only(grid, "web-2")
    with Hammer(grid, "hello") as one, PostHammer(grid, "hello") as two:
        for number, name in enumerate(["green", "blue", "black"]):
            grid.zero("deploy", page(grid, name), "--yes")
            assert colour(grid) == name
            only(grid, f"web-{3 + number}")
        time.sleep(1)
    assert one.failures == [] and two.failures == [] and one.count > 50
    assert "no changes" in grid.zero("deploy", page(grid, "black"), "--yes").stdout
    only(grid, "web-5")


def test_kept_connections_see_nothing_either(page_grid):
    """A client that holds its connection open over the switch: the proxy must not send it to what goes."""
    grid = page_grid
    connection = http.client.HTTPConnection("127.0.0.1", grid.http_port, timeout=10)
    connection.connect()
    socket = connection.sock

    def get():
        connection.request("GET", "/", headers={"Host": "hello.localhost"})
        answer = connection.getresponse()
        answer.read()
        return answer.status

    assert get() == 200
    grid.zero("deploy", page(grid, "green"), "--yes")
    assert get() == 200
    only(grid, "web-3")
    assert get() == 200 and connection.sock is socket
    connection.close()


def test_a_version_that_never_runs_leaves_the_old_one(page_grid):
    grid = page_grid
    with Hammer(grid, "hello") as hammer:
        bad = grid.zero("deploy", page(grid, "green", 'args: ["false"]'), "--yes", check=False)
        assert bad.returncode != 0
        assert "failed" in bad.stderr and "status 1" in bad.stderr, bad.stderr
        time.sleep(2)
        assert grid.get("hello")[0] == 200
        assert colour(grid) == "red", "who looks in sees what serves"
        # What decides about it is started anew in between.
        old = grid.pid("provision")
        os.kill(old, 9)
        wait_for("provision is back", lambda: grid.is_back("provision", old), 10)
        time.sleep(2)
        rows = grid.json("list")
        grid.zero("deploy", page(grid, "blue"), "--yes")
        assert colour(grid) == "blue"
        only(grid, "web-4")
    assert hammer.failures == [] and hammer.count > 50, rows


def test_what_holds_a_volume_is_replaced_in_place(shared):
    grid = shared
    volume = "  - volume: data\n    size: 16 MiB\n"
    more = "volumes: [ { name: data, at: /data } ]"
    try:
        grid.zero("deploy", page(grid, "red", more, volume), "--yes")
        grid.zero("exec", "hello", "--", "sh", "-c", "echo kept > /data/file")
        grid.zero("deploy", page(grid, "green", more, volume), "--yes")
        assert colour(grid) == "green"
        assert grid.zero("exec", "hello", "--", "cat", "/data/file").stdout.strip() == "kept"
        assert grid.get("hello")[0] == 200
        only(grid, "web-2")
    finally:
        grid.zero("delete", "hello", "--yes", check=False)
