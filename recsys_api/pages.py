"""The page of the documentation, whose script and style come from here: no browser asks another host."""

from __future__ import annotations

from importlib.resources import as_file, files

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

ASSETS = "/docs/assets"


def add_pages(app: FastAPI) -> None:
    """Add ``/docs`` and the files that it needs, which the package ``fastapi-offline`` brings."""
    with as_file(files("fastapi_offline").joinpath("static")) as folder:
        app.mount(ASSETS, StaticFiles(directory=folder), name="assets of the documentation")

    @app.get("/docs", include_in_schema=False)
    async def docs(request: Request) -> HTMLResponse:
        root: str = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(
            openapi_url=f"{root}{app.openapi_url}",
            title=app.title,
            swagger_js_url=f"{root}{ASSETS}/swagger-ui-bundle.js",
            swagger_css_url=f"{root}{ASSETS}/swagger-ui.css",
            swagger_favicon_url=f"{root}{ASSETS}/favicon.png",
            # By default the page has a service on the internet check the document.
            swagger_ui_parameters={"validatorUrl": None},
        )

    _ = docs  # FastAPI has it by the decorator
