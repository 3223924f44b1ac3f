"""Hectares, as commands print them."""


def format_hectares(hectares: float) -> str:
    """Hectares for people, with one digit; what is less than half of it, but not 0, says so."""
    return "< 0.1" if 0 < hectares < 0.05 else f"{hectares:,.1f}"
