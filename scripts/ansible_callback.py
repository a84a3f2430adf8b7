"""Our eyes inside Ansible: a callback plugin that tells, a line of JSON each, what became of each host.

It is copied into a play's private folder and loaded by ansible-core there; it imports nothing of ours.
Source: https://docs.ansible.com/ansible/latest/dev_guide/developing_plugins.html#callback-plugins
"""

from __future__ import annotations

import json
import sys
from typing import Any

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
    name: mist
    type: stdout
    short_description: one JSON object a line
    description: For Mist.
"""


DEBUG = ("debug", "ansible.builtin.debug")
NOT_TOLD = ("changed", "failed", "skipped", "item", "ansible_loop_var", "ansible_loop", "ansible_index_var")


def text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


class CallbackModule(CallbackBase):  # type: ignore[misc]
    """Named so by Ansible."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "mist"

    def _tell(self, **facts: Any) -> None:
        sys.__stdout__.write(json.dumps(facts, default=str) + "\n")
        sys.__stdout__.flush()

    def _result(self, result: Any, state: str) -> None:
        said, words = result._result, []
        if result._task.loop and "results" in said and state != "failed":
            return  # each item was told
        hidden = said.get("_ansible_no_log")
        if not hidden:
            for name in ("msg", "stdout", "stderr", "module_stdout", "module_stderr"):
                if (told := said.get(name)) and text(told) not in words:
                    words.append(text(told))
            if result._task.action in DEBUG and "msg" not in said:  # of a variable, under its name
                words += [text(value) for name, value in said.items() if not name.startswith("_ansible") and name not in NOT_TOLD]
            if said.get("diff") and not isinstance(said["diff"], str):
                words.append(self._get_diff(said["diff"]))
        item = self._get_item_label(said)  # of what is not to be logged not even that
        label = result._task.get_name().strip()
        self._tell(host=result._host.get_name(), task=label, item=None if item is None else str(item), state=state, text="\n".join(words))

    def v2_runner_on_ok(self, result: Any) -> None:
        self._result(result, "changed" if result._result.get("changed") else "ok")

    v2_runner_item_on_ok = v2_runner_on_ok

    def v2_runner_item_on_failed(self, result: Any) -> None:
        self._result(result, "failed")

    def v2_runner_item_on_skipped(self, result: Any) -> None:
        self._result(result, "skipped")

    def v2_runner_on_failed(self, result: Any, ignore_errors: bool = False) -> None:
        self._result(result, "ignored" if ignore_errors else "failed")

    def v2_runner_on_skipped(self, result: Any) -> None:
        self._result(result, "skipped")

    def v2_runner_on_unreachable(self, result: Any) -> None:
        self._result(result, "unreachable")

    def v2_playbook_on_start(self, playbook: Any) -> None:
        self._tell(begun=True)

    def v2_playbook_on_stats(self, stats: Any) -> None:
        for host in sorted(stats.processed):
            self._tell(host=host, stats=stats.summarize(host))
