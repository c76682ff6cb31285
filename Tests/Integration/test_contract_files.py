"""Bad contract files: the error points at line and column, says what, why and what to try; nothing is submitted."""
import pytest

from grid import hello


def refused(grid, text, *more):
    return grid.zero("deploy", grid.contract(text, "bad.yaml"), "--yes", *more, check=False)


CASES = {
    "unknown field": (hello("bad").replace("memory:", "memroy:"), "8:5", "memory"),
    "wrong unit": (hello("bad").replace("128 MiB", "128 parsecs"), "8:", "MiB"),
    "missing image": (hello("bad").replace("examples/nginx", "examples/nothing"), "6:", "examples/nothing"),
    "impossible capacity": (hello("bad").replace("128 MiB", "60 TiB"), None, "memory"),
    "anchors": (hello("bad").replace("image: examples/nginx", "image: &x examples/nginx"), "6:", ""),
    "two of a name": (hello("bad") + "  - container: web\n    image: examples/nginx\n", None, "web"),
    "target is not there": (hello("bad").replace("to: web:80", "to: wbe:80"), None, "wbe"),
    "not yaml": ("contract: [", "1:", ""),
    "empty": ("", None, ""),
    "expired": (hello("bad").replace("2027-06-01", "2020-01-01"), None, "expires"),
}


@pytest.mark.parametrize("name", list(CASES))
def test_bad_file(shared, name):
    text, place, word = CASES[name]
    result = refused(shared, text)
    assert result.returncode not in (0, 139, 134), result.stderr
    assert result.stdout == "" or "error" not in result.stdout
    if place:
        line = place.split(":")[0]
        assert f"{line}:" in result.stderr or f"line {line}" in result.stderr, result.stderr
    assert word in result.stderr, result.stderr
    assert "Fatal error" not in result.stderr
    assert not any(c["name"] == "bad" for c in shared.json("list")["contracts"])
