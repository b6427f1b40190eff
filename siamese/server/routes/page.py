"""Search page at /, the folder of its files, and the API documentation at /docs."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter, Request
from fastapi.responses import FileResponse, HTMLResponse

from siamese.utils.templates import render

STATIC = Path(__file__).parents[1] / "static"
router = APIRouter(include_in_schema=False)


@router.get("/")
async def page() -> FileResponse:
    """Return the search page."""
    return FileResponse(STATIC / "index.html", headers={"Cache-Control": "no-cache"})


@router.get("/docs")
async def docs(request: Request) -> HTMLResponse:
    """Return the API documentation, as a page that loads nothing from other hosts."""
    return HTMLResponse(render("siamese.server", "api_docs.html", schema=request.app.openapi()))
