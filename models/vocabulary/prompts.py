"""Prompts and templates: the phrases for a class, and the sentences that they are put into."""

from collections.abc import Sequence

_PLAIN, _WITH_ARTICLE = "{}", "{a}"

TEMPLATES = (
    "a photo of {}.",
    "a photo of {a}.",
    "a land cover photo of {}.",
    "a land cover photo of {a}.",
    "an image of {}.",
    "an image of {a}.",
)
"""The paper's templates (arXiv 2508.11919), each without and with an article."""


def has_one_slot(template: str) -> bool:
    """Whether a template holds one slot: "{}" for a prompt as it is, "{a}" for one with article."""
    return template.count(_PLAIN) + template.count(_WITH_ARTICLE) == 1


def sentences(prompts: Sequence[str], templates: Sequence[str]) -> list[str]:
    """Every prompt in every template; a prompt's sentences follow each other."""
    return [
        template.replace(_PLAIN, prompt)
        if _PLAIN in template
        else template.replace(_WITH_ARTICLE, with_article(prompt))
        for prompt in prompts
        for template in templates
    ]


def with_article(phrase: str) -> str:
    """The phrase with "a" or "an" before it, by its first letter; one with an article stays."""
    first = phrase.split(maxsplit=1)[0].casefold()
    if first in {"a", "an", "the"}:
        return phrase
    sounds_as_consonant = first.startswith(("eu", "uni", "use", "one"))
    vowel = first[0] in "aeiou" and not sounds_as_consonant
    return f"{'an' if vowel else 'a'} {phrase}"
