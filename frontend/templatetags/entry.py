"""The picture beside the sign-in form: a field of state marks. It is drawn from nothing but numbers: it tells of no fleet."""

from __future__ import annotations

import math
from functools import cache
from random import Random

from django import template
from django.utils.safestring import SafeString, mark_safe

register = template.Library()


@register.simple_tag
@cache
def fleet_map() -> SafeString:
    """880 × 900: a mark every 22, in waves around (455, 450), fading to the edge."""
    random = Random(7)  # noqa: S311  the same picture always
    marks = []
    for row in range(40):
        for column in range(38):
            x, y = 34 + 22 * column, 30 + 22 * row
            fade = math.exp(-(((x - 455) / 340) ** 2) - ((y - 450) / 360) ** 2)
            bend = 0.9 * math.sin(math.tau * (y - 450) / 520)
            wave = 0.66 + 0.34 * math.cos(math.tau * (x - 465) / 272 + bend) + 0.14 * math.cos(math.tau * (y - 455) / 232)
            opacity = round(min(1, fade * wave), 2)
            if opacity < 0.03:
                continue
            bolder = f"{min(1, opacity * 1.6 + 0.03):.2f}"  # what is no full disc
            what = random.random()
            if what < 0.78:
                marks.append(f'<circle class="run" cx="{x}" cy="{y}" r="4.4" opacity="{opacity}"/>')
            elif what < 0.96:
                marks.append(f'<rect class="stop" x="{x - 3.6}" y="{y - 3.6}" width="7.2" height="7.2" rx="1.6" opacity="{bolder}"/>')
            elif what < 0.99:
                marks.append(f'<circle class="busy" cx="{x}" cy="{y}" r="4" stroke-dasharray="16 10" opacity="{bolder}"/>')
            else:
                marks.append(f'<path class="fail" d="M{x} {y - 5}l5 9h-10z" opacity="{bolder}"/>')
    return mark_safe(f'<svg class="map" viewBox="0 0 880 900" preserveAspectRatio="xMidYMid slice">{"".join(marks)}</svg>')  # noqa: S308
