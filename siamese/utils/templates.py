"""Fill in the HTML templates of a package."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment


def render(package: str, template: str, **values: Any) -> str:
    """Fill in a template, escaping the values.

    Parameters
    ----------
    package : str
        Package with the folder ``templates``, such as ``"siamese.reports"``.
    template : str
        Name of a file in that folder.
    **values
        Values of the template's variables; a missing one is an error.

    Returns
    -------
    str
        The HTML.
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
