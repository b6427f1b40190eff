"""Fill in the HTML templates of a package."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, template: str, **values: Any) -> str:
    """Return a template with its values filled in and escaped.

    Parameters
    ----------
    package : str
        Package whose folder `templates` holds it, such as ``"siamese.reports"``.
    template : str
        File name in that folder.
    **values
        What the template names. A name without a value is an error.
    """
    return _environment(package).get_template(template).render(values)


@cache
def _environment(package: str) -> Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader(package),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
