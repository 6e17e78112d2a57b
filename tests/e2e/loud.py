"""A pipeline whose every part says its values aloud, and what is kept of it, everywhere."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, inspect, text

from gamepipe.connecting import connect_temporal
from gamepipe.logchunk import unpack
from tests.e2e.beagle import ALPINE, Engine, Platform
from tests.e2e.stack import RunningStack

LOUD_FILE = """
name: loud
args: [PLAIN]
envs: [HOST, LINES]
secrets: [TOKEN]
steps:
  - name: container
    container:
      image: ALPINE
      environment: {GIVEN: "${{ secrets.TOKEN }}"}
      commands:
        - echo "out ${{ envs.HOST }} $GIVEN ${{ args.PLAIN }}"
        - echo "err ${{ envs.HOST }} $GIVEN" >&2
        - |
          echo "${{ envs.LINES }}"
        - echo "answer=$GIVEN" >> $GAMEPIPE_OUTPUT
        - echo "GAMEPIPE_PROGRESS=50 looking at $GIVEN" >> $GAMEPIPE_OUTPUT
        - echo "$GIVEN" > token
    outputs: [answer]
  - name: command
    type: command
    command: |
      head -c 65530 /dev/zero | tr '\\0' x
      echo "${{ secrets.TOKEN }} ${{ steps.container.outputs.answer }} ${{ args.PLAIN }}"
      exit 3
    continue_on_error: true
  - name: no such image
    container: {image: "localhost:1/${{ secrets.TOKEN }}:1"}
    continue_on_error: true
  - name: outside
    container: {image: ALPINE, volumes: ["./../${{ envs.HOST }}:/x"], commands: ["true"]}
    continue_on_error: true
  - name: early end
    type: service
    container:
      image: ALPINE
      commands: ["echo last words ${{ secrets.TOKEN }}", "exit 1"]
    continue_on_error: true
  - name: service
    type: service
    container:
      image: ALPINE
      hostname: "${{ args.PLAIN }}"
      environment: {HOST: "${{ envs.HOST }}"}
      commands: ["trap 'exit 0' TERM; sleep 3600 & wait"]
      healthcheck:
        test: echo "asked ${{ secrets.TOKEN }}"; test ! -e /workspace/sick
        interval: 1s
        retries: 1
""".replace("ALPINE", ALPINE)


@dataclass
class Run:
    """What ran, and all that people saw of it."""

    stack: RunningStack
    engine: Engine
    mark: str
    plain: str
    root: Path
    loud: str
    beagle: str = ""
    printed: list[str] = field(default_factory=list)

    @property
    def pipelines(self) -> list[str]:
        return [self.loud, self.beagle] if self.beagle else [self.loud]

    @property
    def values(self) -> dict[str, dict[str, str]]:
        lines = f"{self.mark} line one\n{self.mark} line two"
        return {
            "args": {"PLAIN": self.plain},
            "envs": {"HOST": f"{self.mark}.example", "LINES": lines},
            "secrets": {"TOKEN": f"{self.mark}-token"},
        }

    @property
    def platform(self) -> Platform:
        return Platform(root=self.root / self.mark, instance=self.plain, mark=self.mark)

    def submit(self, text: str, pipeline_id: str, *flags: str, **values: dict[str, str]) -> None:
        """Through the command line, watched to its end."""
        for kind, named in values.items():
            for name, value in named.items():
                flags += (f"--{kind.removesuffix('s')}", f"{name}={value}")
        self.command("submit", "-", "--id", pipeline_id, "--watch", *flags, input=text)

    def command(self, *arguments: str, **options: Any) -> str:
        """What it printed; kept for the search."""
        done = self.stack.run(*arguments, **options)
        assert done.returncode == 0, done.stdout + done.stderr
        self.printed.append(done.stdout + done.stderr)
        return done.stdout

    def instances(self) -> list[dict[str, Any]]:
        listed = self.stack.http.get("/instances", params={"live": True}).json()
        return [one for one in listed if one["pipeline_id"] in self.pipelines]


async def history(stack: RunningStack, workflow_id: str) -> bytes:
    """Every event with its decoded payloads, and what the server says of the workflow."""
    client = await connect_temporal(stack.info["temporal_address"], "default")
    handle = client.get_workflow_handle(workflow_id)
    described = (await handle.describe()).raw_description.SerializeToString()
    events = [one.SerializeToString() async for one in handle.fetch_history_events()]
    return b"\n".join([described, *events])


def stored_values(stack: RunningStack, *pipeline_ids: str) -> list[str]:
    """The one column that holds them."""
    with opened(stack) as connection:
        rows = connection.execute(text("SELECT pipeline_id, value FROM pipeline_value")).all()
    return [value for name, value in rows if not pipeline_ids or name in pipeline_ids]


def stored(stack: RunningStack) -> dict[str, str]:
    """Text of every table without that column; what is compressed, unpacked."""
    with opened(stack) as connection:
        names = inspect(connection).get_table_names()
        return {name: "\n".join(cells(connection, name)) for name in names}


@contextmanager
def opened(stack: RunningStack) -> Iterator[Connection]:
    url = stack.store_url.replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(url)
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def cells(connection: Connection, table: str) -> Iterator[str]:
    rows = connection.execute(text(f'SELECT * FROM "{table}"'))
    titles = list(rows.keys())
    for row in rows:
        for title, cell in zip(titles, row, strict=True):
            if (table, title) == ("log_chunk", "data"):
                yield "\n".join(line.text for line in unpack(1, cell))
            elif (table, title) != ("pipeline_value", "value"):
                yield str(cell)
