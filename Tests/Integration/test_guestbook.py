"""Two containers that talk to each other, and a volume that survives redeployment."""
import grid as grids
from grid import wait_for


def test_guestbook(shared):
    for name in ("redis", "guestbook"):
        shared.image(f"examples/{name}", name)
    text = (grids.ROOT / "Examples/guestbook.yaml").read_text()
    path = shared.contract(text, "guestbook.yaml")
    shared.zero("deploy", path, "--yes")
    try:
        assert shared.get("guestbook")[0] == 200
        status, _ = shared.post("guestbook", "/", "entry=first+light")
        assert status in (200, 303)
        wait_for("the message", lambda: "first light" in shared.get("guestbook")[1], 10)
        # The names of the contract's network, over both protocols.
        hosts = shared.zero("exec", "-w", "store", "guestbook", "--", "getent", "ahosts", "web").stdout
        assert "10." in hosts and "fd" in hosts
        path.write_text(text.replace("cpu: 0.5", "cpu: 0.4"))
        shared.zero("deploy", path, "--yes")
        wait_for("the page again", lambda: shared.get("guestbook")[0] == 200, 15)
        wait_for("the message again", lambda: "first light" in shared.get("guestbook")[1], 10)
    finally:
        shared.zero("delete", "guestbook", "--yes", check=False)
