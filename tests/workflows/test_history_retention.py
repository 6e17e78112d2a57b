"""The embedded server keeps histories for as long as their pipelines are kept."""

from pathlib import Path

from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest

from gamepipe.config import Settings
from gamepipe.connecting import connect_temporal
from gamepipe.embedded.temporal import RETENTION, TemporalServer


async def test_histories_are_kept_as_long_as_pipelines_also_after_a_restart(tmp_path: Path) -> None:
    assert Settings.model_fields["retention"].default <= RETENTION
    for days in (RETENTION, 2 * RETENTION):
        server = TemporalServer(data_dir=tmp_path, keep=True, retention=days)
        await server.start()
        client = await connect_temporal(server.address, "default")
        described = await client.workflow_service.describe_namespace(
            DescribeNamespaceRequest(namespace="default")
        )
        await server.stop()
        assert described.config.workflow_execution_retention_ttl.ToTimedelta() == days
