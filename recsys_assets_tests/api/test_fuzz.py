"""Schemathesis over the OpenAPI document: whatever is sent, no answer is a 5xx or other than the document says."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, reject, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from recsys_api.app import create_app
from recsys_api.settings import Settings
from recsys_assets_tests.api.conftest import eventually
from recsys_assets_tests.api.publishing import publish
from recsys_assets_tests.api.test_answers import CONTENT, DAY, FACTS

KEY = "a-write-and-admin-key-0123456789"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
SEND = {"method", "url", "params", "headers", "cookies", "json", "files"}


def send(client: TestClient, case: Case[Any], headers: dict[str, str]) -> Any:
    """The answer to a case, which is described for requests and sent by httpx2."""
    described = case.as_transport_kwargs(base_url="http://testserver", headers=headers)
    sent = {name: value for name, value in described.items() if name in SEND and value is not None}
    data = described.get("data")
    try:
        return client.request(**sent, **({} if data is None else {"content": data}))
    except httpx2.InvalidURL:  # longer than this client can send
        reject()


@pytest.mark.parametrize("mode", list(GenerationMode), ids=lambda mode: mode.value)
@pytest.mark.parametrize("key", [KEY, None], ids=["with a key", "without a key"])
def test_no_5xx_and_no_answer_that_the_document_does_not_describe(
    make_settings: Callable[..., Settings], store_uri: str, key: str | None, mode: GenerationMode
) -> None:
    publish(store_uri, DAY, CONTENT, **FACTS)
    app = create_app(make_settings(api_write_keys=KEY, api_admin_keys=KEY))
    headers = {"X-API-Key": key} if key else {}
    load_all_checks()
    with TestClient(app, raise_server_exceptions=False) as client:
        eventually(lambda: client.get("/health/ready").status_code == 200)
        schema = schemathesis.openapi.from_dict(client.get("/openapi.json").json())
        asked, succeeded = 0, set[str]()
        for found in schema.get_all_operations():
            operation: Any = found.ok()  # pyright: ignore[reportAttributeAccessIssue]

            @settings(
                max_examples=10,
                deadline=None,
                derandomize=True,
                database=None,
                phases=[Phase.generate],
                suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
            )
            @given(case=operation.as_strategy(generation_mode=mode))
            def fuzz(case: Case[Any]) -> None:
                nonlocal asked
                asked += 1
                response = send(client, case, headers)
                case.validate_response(response, checks=CHECKS)
                if response.is_success:
                    succeeded.add(case.operation.label)

            try:
                fuzz()
            except Unsatisfiable:
                assert mode is GenerationMode.NEGATIVE, operation.label  # where all that can be sent is right
            except Exception as error:
                error.add_note(f"in {operation.label}")
                raise
        assert asked > 120
        if key and mode is GenerationMode.POSITIVE:
            assert len(succeeded) > 15, "too few requests got beyond the checks of their parameters"
