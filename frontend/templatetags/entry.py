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
    """880 × 900: a mark every 22, densest around (450, 430), fading to the edge."""
    random = Random(7)  # noqa: S311  the same picture always
    marks = []
    for row in range(40):
        for column in range(40):
            x, y = 34 + 22 * column, 30 + 22 * row
            distance = math.hypot((x - 450) / 430, (y - 430) / 470)
            if distance > 1:
                continue
            opacity = round(max(0.05, (1 - distance) ** 1.25), 2)
            what = random.random()
            if what < 0.77:
                marks.append(f'<circle class="run" cx="{x}" cy="{y}" r="4.4" opacity="{opacity}"/>')
            elif what < 0.93:
                marks.append(f'<rect class="stop" x="{x - 3.6}" y="{y - 3.6}" width="7.2" height="7.2" rx="1.6" opacity="{opacity}"/>')
            elif what < 0.985:
                marks.append(
                    f'<circle class="busy" cx="{x}" cy="{y}" r="4" stroke-dasharray="16 10" opacity="{min(1, opacity * 1.5):.2f}"/>'
                )
            else:
                marks.append(f'<path class="fail" d="M{x} {y - 5}l5 9h-10z" opacity="{min(1, opacity * 1.5):.2f}"/>')
    return mark_safe(f'<svg class="map" viewBox="0 0 900 900" preserveAspectRatio="xMidYMid slice">{"".join(marks)}</svg>')  # noqa: S308
