"""The code in gamepipe/v1 is what proto/ says, and the schemas are clean."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "gamepipe" / "v1"
SCHEMAS = sorted((ROOT / "proto").rglob("*.proto"))
RELATIVE = [str(path.relative_to(ROOT)) for path in SCHEMAS]
KINDS = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def regenerated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """gamepipe/v1 made anew, as `make proto` makes it."""
    folder = tmp_path_factory.mktemp("proto")
    outputs = [f"--{kind}_out={folder}" for kind in ("python", "mypy", "grpc_python", "mypy_grpc")]
    subprocess.run(
        [sys.executable, "-m", "grpc_tools.protoc", "-I", "proto", *outputs, *RELATIVE],
        cwd=ROOT,
        env={"PATH": str(BIN)},
        check=True,
    )
    return folder / "gamepipe" / "v1"


def files(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if "_pb2" in path.name}


def test_the_generated_code_is_up_to_date(regenerated: Path) -> None:
    assert files(GENERATED) == files(regenerated), "run `make proto` and commit gamepipe/v1"


def test_every_schema_has_its_four_files() -> None:
    wanted = {f"{path.stem}{kind}" for path in SCHEMAS for kind in KINDS}
    assert set(files(GENERATED)) == wanted


@pytest.mark.parametrize("check", [["lint"], ["breaking", "--against", "proto/baseline.binpb"]])
def test_the_schemas_are_clean_and_break_no_agent_that_is_out(check: list[str]) -> None:
    """The baseline is the contract of the last release: `make baseline` moves it."""
    done = subprocess.run(
        [str(BIN / "buf"), *check], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
