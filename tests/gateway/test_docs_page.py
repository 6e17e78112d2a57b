"""The page at /docs: everything that it loads comes from the gateway itself."""

import re

from tests.gateway.conftest import Gateway


async def test_the_docs_page_loads_nothing_from_elsewhere(gateway: Gateway) -> None:
    root = gateway.http.base_url.copy_with(path="/")
    page = (await gateway.http.get(root.join("/docs"))).text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert any(path.endswith(".js") for path in loaded)
    for path in loaded:
        assert path.startswith("/"), f"{path} is not the gateway's own"
        assert (await gateway.http.get(root.join(path))).status_code == 200


async def test_the_schema_names_the_bearer_token_and_shows_examples(
    gateway: Gateway,
) -> None:
    root = gateway.http.base_url.copy_with(path="/")
    schema = (await gateway.http.get(root.join("/openapi.json"))).json()
    assert schema["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    create = schema["paths"]["/api/v1/pipelines"]["post"]
    assert create["security"] == [{"HTTPBearer": []}]
    assert "example" in str(create["requestBody"])
