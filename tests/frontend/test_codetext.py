"""Code in colours: the same letters, none of them markup."""

from __future__ import annotations

import pytest
from django.utils.html import escape

from clouds.providers._hcl import Block, document
from frontend.calls import Call, calls
from frontend.templatetags.codetext import coloured

NASTY = "a'b\"<script>alert(1)</script>\\ --x"
CALLS = calls("machines create", "machines", {"name": NASTY, "tags": {NASTY: "x"}})
HCL = document([Block("resource", ("a", NASTY), {"name": NASTY, "tags": {NASTY: [NASTY]}})])
CALLS.append(Call(name="terraform", title="Terraform", text=HCL))


def test_options_texts_and_what_is_called_have_colours() -> None:
    assert coloured("mist machines stop 'web 1' \\\n  --tag env=dev") == (
        "<u>mist</u> machines stop <i>&#x27;web 1&#x27;</i> \\\n  <b>--tag</b> env=dev"
    )
    assert coloured('{"Effect": "Allow"}') == "{<b>&quot;Effect&quot;</b>: <i>&quot;Allow&quot;</i>}"
    assert "<u>httpx.post</u>" in coloured("answer = httpx.post(")


def test_hcl_has_colours_and_its_comments_have_none() -> None:
    text = '# It\'s "so"\n\nresource "a" "b" {\n  name = "x"\n  long_one = it\'s\n}'
    assert coloured(text) == (
        "# It&#x27;s &quot;so&quot;\n\n<u>resource</u> <i>&quot;a&quot;</i> <i>&quot;b&quot;</i> {\n"
        "<b>  name</b> = <i>&quot;x&quot;</i>\n<b>  long_one</b> = it&#x27;s\n}"
    )
    assert "<b>" not in coloured("answer = it")


def test_a_hyphen_within_a_word_is_no_option() -> None:
    assert "<b>" not in coloured("mist machines stop web-eu-04")


@pytest.mark.parametrize("call", CALLS, ids=[call.name for call in CALLS])
def test_no_letter_is_lost_and_none_is_markup(call: Call) -> None:
    made = coloured(call.text)
    assert "<script" not in made
    for tag in ("b", "i", "u"):
        made = made.replace(f"<{tag}>", "").replace(f"</{tag}>", "")
    assert made == escape(call.text)
