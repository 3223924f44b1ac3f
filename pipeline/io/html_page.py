"""HTML pages from the templates of a package, in which nothing that others wrote is markup."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from models.visible_text import visible_lines


def html_page(package: str, template: str, **values: Any) -> str:
    """The page of a template in the folder `templates` of a package.

    Values are escaped, and control characters in them made visible; markup of our own
    (`markupsafe.Markup`) stays markup.
    """
    environment = Environment(
        loader=PackageLoader(package, "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    return environment.get_template(template).render(**values)


def _visible(value: Any) -> Any:
    return visible_lines(value) if type(value) is str else value
