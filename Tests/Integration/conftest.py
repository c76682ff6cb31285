import os
import subprocess
import tempfile

import pytest

import grid as grids


def pytest_collection_modifyitems(items):
    if os.geteuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="needs root: namespaces, mounts, cgroups"))


failed = []


def pytest_runtest_logreport(report):
    if report.failed and report.nodeid not in failed:
        failed.append(report.nodeid)


def pytest_sessionfinish():
    """Names the tests that failed in the file that was asked for, one a line."""
    if "ZERO_FAILED" in os.environ:
        with open(os.environ["ZERO_FAILED"], "w") as file:
            file.writelines(name + "\n" for name in failed)


@pytest.fixture(scope="session")
def images():
    """The example images, made from Debian packages; kept between runs."""
    subprocess.run([str(grids.ROOT / "script/make-example-images"), str(grids.IMAGES)], check=True)
    return grids.IMAGES


def folder():
    """A folder that every account can reach; pytest's own are closed to all but root."""
    path = tempfile.mkdtemp(prefix="zero-test-", dir="/var/tmp")
    os.chmod(path, 0o755)
    return path


@pytest.fixture(scope="session")
def shared(images):
    """One grid for all tests that leave it as it was, with the example images imported."""
    grid = grids.Grid(folder())
    try:
        grid.up()
        grid.image("examples/nginx", "nginx")
        yield grid
    finally:
        grids.remove(grid)


@pytest.fixture
def grid(images):
    """A grid of its own for a test that harms it."""
    grid = grids.Grid(folder())
    try:
        grid.up()
        grid.image("examples/nginx", "nginx")
        yield grid
    finally:
        grids.remove(grid)


@pytest.fixture
def deployed(shared):
    """The contract `hello` on the shared grid, gone afterwards."""
    shared.zero("deploy", shared.contract(grids.hello()), "--yes")
    yield shared
    shared.zero("delete", "hello", "--yes", check=False)


@pytest.fixture
def place():
    """A folder for a test that starts its grid itself."""
    return folder()
