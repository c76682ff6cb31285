"""script/archive-demo: two farms of five are lost for good, and nothing else."""
import os
import pathlib
import re
import signal
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).parents[2]
DEMO = ROOT / "script/archive-demo"


def environment(folder):
    return {"ZERO_BIN": str(ROOT / "build/debug"), **os.environ, "TMPDIR": str(folder)}


def test_an_archive_outlives_two_farms(tmp_path):
    process = subprocess.Popen(
        [DEMO, "--seconds", "8"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(tmp_path))
    # It cleans up when it is asked to end, so it is asked.
    timer = threading.Timer(240, process.terminate)
    timer.start()
    said, _ = process.communicate()
    timer.cancel()
    assert process.returncode == 0, said
    lines = said.split("\nSummary\n")[1].splitlines()
    summary = {line[:12].strip(): line[12:].strip() for line in lines}
    assert (summary["wrong"], summary["missing"], summary["result"]) == ("0", "0", "nothing was lost")
    acknowledged, same = map(int, re.findall(r"\d+", summary["objects"]))
    assert acknowledged == same > 10
    assert re.fullmatch(r"\d+ shards of \d+ stripes, 0 bad; the store is whole", summary["proofs"])
    assert sum("was lost: whole after" in line for line in lines) == 2
    assert float(summary["longest gap"].split()[0]) < 30
    assert list(tmp_path.iterdir()) == []


def test_a_demonstration_that_is_stopped_leaves_nothing(tmp_path):
    process = subprocess.Popen([DEMO], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment(tmp_path))
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob("*/state/index")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert subprocess.run(["pgrep", "-f", f"zero-s3.*{tmp_path}"], stdout=subprocess.DEVNULL).returncode == 0
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 1
    assert list(tmp_path.iterdir()) == []
    assert subprocess.run(["pgrep", "-f", str(tmp_path)], stdout=subprocess.DEVNULL).returncode == 1
