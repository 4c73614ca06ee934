"""English and German as the Unicode CLDR writes them, through Babel: names, and formatted quantities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import cache
from random import Random

FORMATTED = 8000
LENGTHS = ("short", "medium", "long", "full")

Pair = tuple[str, str]


def clean_names() -> Iterator[Pair]:
    """The names of languages and territories (about 900), each with its one translation."""
    from babel import Locale

    for kind in ("languages", "territories"):
        for code in _common(kind):
            yield getattr(Locale("en"), kind)[code], getattr(Locale("de"), kind)[code]


def noisy_formats() -> Iterator[Pair]:
    """Dates, times, numbers, amounts of money and of units, in both locales (`FORMATTED` of them).

    Of the renderings that CLDR has of the same quantity, such as ``5. März 2024`` and ``05.03.24``, each side
    takes one at random: as in crawled text, a source has several good translations, and a translation may say
    more or less than its source.
    """
    random = Random(0)
    kinds = [_date, _time, _number, _money, _unit, _duration]
    for n in range(FORMATTED):
        render = kinds[n % len(kinds)](random)
        yield render("en"), render("de")


Render = Callable[[str], str]


def _date(random: Random) -> Render:
    from babel.dates import format_date

    day = datetime(1900, 1, 1) + timedelta(days=random.randrange(73_000))
    return lambda locale: format_date(day, random.choice(LENGTHS), locale=locale)


def _time(random: Random) -> Render:
    from babel.dates import format_skeleton

    moment = datetime(2000, 1, 1) + timedelta(minutes=random.randrange(10_000_000))
    skeletons = {"en": ("yMMMEd", "MMMMd", "Ehm", "hm"), "de": ("yMMMEd", "MMMMd", "EHm", "Hm")}
    index = random.randrange(4)
    return lambda locale: format_skeleton(skeletons[locale][index], moment, locale=locale)


def _number(random: Random) -> Render:
    from babel.numbers import format_compact_decimal, format_decimal

    value = round(10 ** random.uniform(3, 10))
    return lambda locale: (
        format_decimal(value, locale=locale)
        if random.random() < 0.5
        else format_compact_decimal(value, format_type="long", fraction_digits=2, locale=locale)
    )


def _money(random: Random) -> Render:
    from babel.numbers import format_currency

    currency = random.choice(_common("currencies"))
    value = round(10 ** random.uniform(0, 6), 2)
    return lambda locale: format_currency(
        value, currency, locale=locale, format_type=random.choice(("standard", "name", "name"))
    )


def _unit(random: Random) -> Render:
    from babel.units import format_unit

    unit = random.choice(_common("unit_display_names"))
    value = random.choice((1, random.randrange(2, 1000), random.randrange(10, 1000) / 10))
    return lambda locale: format_unit(value, unit, random.choice(("long", "long", "short")), locale=locale)


def _duration(random: Random) -> Render:
    from babel.dates import format_timedelta

    duration = timedelta(minutes=round(10 ** random.uniform(0, 7)))
    sign, directed = random.choice((1, -1)), random.random() < 0.7
    return lambda locale: format_timedelta(
        sign * duration, threshold=1, add_direction=directed, locale=locale
    )


@cache
def _common(kind: str) -> list[str]:
    """The codes that both locales name, in order."""
    from babel import Locale

    return sorted(getattr(Locale("en"), kind).keys() & getattr(Locale("de"), kind).keys())
