"""The wheel holds the whole service, and nothing that only a checkout needs."""

from pathlib import Path
from zipfile import ZipFile

from tests.packaging.installation import ROOT

PACKAGES = ("activities", "gamepipe", "gateway", "store", "workflows")
NEEDED = {
    "gamepipe/v1/node_pb2.py",
    "gamepipe/v1/node_pb2_grpc.pyi",
    "store/migrations/script.py.mako",
    "store/migrations/versions/0001_first_schema.py",
    "worker.py",
}


def files(*packages: str) -> set[str]:
    """Those of the checkout, without what Python compiled."""
    found = [path for package in packages for path in (ROOT / package).rglob("*.*")]
    return {str(path.relative_to(ROOT)) for path in found if path.suffix != ".pyc"}


def test_it_holds_every_file_of_its_packages_and_nothing_else(wheel: Path) -> None:
    held = {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == files(*PACKAGES) | {"worker.py"}
    assert held >= NEEDED
    assert not [name for name in held if "/test" in name]
