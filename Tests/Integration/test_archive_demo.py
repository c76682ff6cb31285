"""script/archive-demo says the truth: it ends well, and with nothing wrong."""
import pathlib
import re
import subprocess

SCRIPT = pathlib.Path(__file__).parents[2] / "script/archive-demo"


def test_two_farms_are_lost_and_nothing_is_missing():
    done = subprocess.run([SCRIPT, "--seconds", "4"], capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing was lost" in done.stdout and re.search(r"^wrong +0$", done.stdout, re.M) and re.search(r"^missing +0$", done.stdout, re.M)
    written, same = map(int, re.search(r"^objects +(\d+) acknowledged, (\d+) read again the same$", done.stdout, re.M).groups())
    assert written == same > 5
