"""The description of the service: an OpenAPI schema, and a page that shows it.

The page loads nothing from other servers: its script and style come from swagger-ui-bundle.
"""

from typing import Any

import swagger_ui_bundle
from fastapi import FastAPI, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse

from diffcam_jax.service.refusals import Refusal

# Swagger UI 4 reads no later one.
VERSION = "3.0.3"
SCHEMA = "/api/openapi.json"
_FILES = ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png")
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; connect-src 'self'; frame-ancestors 'self'"
)
_PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>diffcam: HTTP service</title>
<link rel="icon" href="/api/docs/favicon-32x32.png">
<link rel="stylesheet" href="/api/docs/swagger-ui.css">
<div id="swagger-ui"></div>
<script src="/api/docs/swagger-ui-bundle.js"></script>
<script src="/api/docs/start.js"></script>
</html>
"""
_START = f"""SwaggerUIBundle({{
  url: "{SCHEMA}", dom_id: "#swagger-ui", validatorUrl: null, deepLinking: true
}});
"""


def install(app: FastAPI) -> None:
    """Adds the schema and its page to an application."""
    app.openapi_version = VERSION

    def schema() -> dict[str, Any]:
        if app.openapi_schema is None:
            made = get_openapi(
                title=app.title,
                version=app.version,
                openapi_version=VERSION,
                description=app.description,
                routes=app.routes,
            )
            made["components"]["securitySchemes"] = {
                "token": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Of the server, if any.",
                }
            }
            made["security"] = [{}, {"token": []}]
            app.openapi_schema = _for_3_0(made)
        return app.openapi_schema

    app.openapi = schema

    @app.get("/api/docs", include_in_schema=False)
    def page() -> HTMLResponse:
        return HTMLResponse(_PAGE, headers={"Content-Security-Policy": _POLICY})

    @app.get("/api/docs/{name}", include_in_schema=False)
    def part(name: str) -> Response:
        if name == "start.js":
            return Response(_START, media_type="text/javascript")
        if name not in _FILES:
            raise Refusal(404, "the page has no such part")
        return FileResponse(swagger_ui_bundle.swagger_ui_path / name)


def _for_3_0(node: Any) -> Any:
    """The same schema for OpenAPI 3.0, where neither the type null nor constants exist."""
    if isinstance(node, list):
        return [_for_3_0(item) for item in node]
    if not isinstance(node, dict):
        return node
    made = {name: _for_3_0(value) for name, value in node.items()}
    if "const" in made:
        made["enum"] = [made.pop("const")]
    if not isinstance(made.get("anyOf"), list) or {"type": "null"} not in made["anyOf"]:
        return made
    others = [choice for choice in made.pop("anyOf") if choice != {"type": "null"}]
    made["nullable"] = True
    if len(others) > 1 or "$ref" in others[0]:
        return made | {"allOf" if len(others) == 1 else "anyOf": others}
    return others[0] | made
