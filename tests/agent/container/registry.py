"""A registry that serves one image over HTTP, as slowly as a test wants."""

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"
_PART = 256 * 1024


def digest_of(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


@dataclass
class Registry:
    """`blobs` by digest; a blob stops half-way until `may_go_on` is set."""

    manifest: bytes
    blobs: dict[str, bytes]
    address: str = ""
    may_go_on: asyncio.Event = field(default_factory=asyncio.Event)
    half_way: asyncio.Event = field(default_factory=asyncio.Event)
    logins: list[str] = field(default_factory=list)

    def image(self, name: str = "game:1") -> str:
        return f"{self.address}/{name}"

    async def serve_version(self, request: web.Request) -> web.Response:
        return web.json_response({})

    async def serve_manifest(self, request: web.Request) -> web.Response:
        self.logins.append(request.headers.get("Authorization", ""))
        headers = {"Docker-Content-Digest": digest_of(self.manifest)}
        return web.Response(body=self.manifest, content_type=_MANIFEST, headers=headers)

    async def serve_blob(self, request: web.Request) -> web.StreamResponse:
        data = self.blobs[request.match_info["digest"]]
        response = web.StreamResponse(headers={"Content-Length": str(len(data))})
        await response.prepare(request)
        for at in range(0, len(data), _PART):
            if at > len(data) // 2:
                self.half_way.set()
                await self.may_go_on.wait()
            await response.write(data[at : at + _PART])
        return response


def make_registry(rootfs: bytes) -> Registry:
    """An image of one layer that nobody has pulled before."""
    layer = gzip.compress(rootfs, compresslevel=1)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Labels": {"made": os.urandom(8).hex()}},
            "rootfs": {"type": "layers", "diff_ids": [digest_of(rootfs)]},
        }
    ).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": {"mediaType": _CONFIG, "size": len(config), "digest": digest_of(config)},
        "layers": [{"mediaType": _LAYER, "size": len(layer), "digest": digest_of(layer)}],
    }
    blobs = {digest_of(config): config, digest_of(layer): layer}
    return Registry(manifest=json.dumps(manifest).encode(), blobs=blobs)


@asynccontextmanager
async def serving(registry: Registry) -> AsyncIterator[Registry]:
    """Serve it on a free port of 127.0.0.1, which engines trust without TLS."""
    application = web.Application()
    application.router.add_get("/v2/", registry.serve_version)
    application.router.add_get("/v2/{name:.+}/manifests/{ref}", registry.serve_manifest)
    application.router.add_get("/v2/{name:.+}/blobs/{digest}", registry.serve_blob)
    runner = web.AppRunner(application, shutdown_timeout=1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    registry.address = f"{host}:{port}"
    try:
        yield registry
    finally:
        registry.may_go_on.set()
        await runner.cleanup()
