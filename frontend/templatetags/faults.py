"""What went wrong, in templates: a code in words, and the button that helps."""

from __future__ import annotations

from django import template

from core.models import Job
from frontend import codes, faults

register = template.Library()


@register.filter
def code_word(code: str) -> str:
    """cloud_timeout → no answer in time"""
    return codes.code_words(code)


@register.simple_tag(takes_context=True)
def fault_of(context: template.Context, job: Job) -> faults.Fault:
    """{% fault_of job as fault %}"""
    return faults.of_job(job, context["base"])
