"""Running: a run is a job with a row a host. Whom it may run on is asked of each machine: the right is machine.run."""

from __future__ import annotations

import asyncio
import logging
import re
import shlex
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db import DatabaseError, OperationalError, transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from drf_spectacular.utils import extend_schema_field
from psycopg.errors import DiskFull
from rest_framework import serializers

from accounts.statements import policy_of
from core import guard, live
from core.actions import Action, Call, get, register
from core.actor import Actor
from core.bulks import BULK_CAP
from core.errors import Conflict, Denied, Failed, Invalid, MistError, NotFound, Rejected
from core.models import Job
from core.params import KindField, ResourceField
from keys.references import is_reference, parse
from machines.models import Machine
from machines.reach import Reach, reaches
from scripts import ansible, engine, output, secret_values
from scripts.actions.library import newest, read
from scripts.desk import Desk, abandon, counts, ended, finish, records
from scripts.models import Run, RunHost, Script, ScriptVersion
from scripts.parameters import FORBIDDEN, MOST_VALUE, NAME, Handed, handed, references, values
from scripts.shellside import order

log = logging.getLogger(__name__)
LONGEST_S = 24 * 3600
MOST_AT_ONCE = 1000
ASLEEP = (Machine.State.STOPPED, Machine.State.TERMINATED, Machine.State.SUSPENDED, Machine.State.PAUSED, Machine.State.CREATING)
TEXT_OR_OBJECT = {"oneOf": [{"type": "string", "maxLength": MOST_VALUE}, {"type": "object", "additionalProperties": {}}]}


@extend_schema_field({"oneOf": [*TEXT_OR_OBJECT["oneOf"], {"type": "array", "items": {"type": "string"}}]})
class ValuesField(serializers.Field[Any, Any, Any, Any]):
    """`{name: value}` of its parameters; or further words of its command line: a list, or text as a shell would split it."""

    def to_internal_value(self, data: Any) -> dict[str, Any] | list[str]:
        if isinstance(data, str):
            try:
                data = shlex.split(data)
            except ValueError as error:
                raise serializers.ValidationError("A quotation mark is left open.") from error
        if isinstance(data, list):
            if len(data) > 200 or not all(isinstance(word, str | int | float) and not isinstance(word, bool) for word in data):
                raise serializers.ValidationError("At most 200 words of text.")
            data = [str(word) for word in data]
            if any("\0" in word or len(word) > MOST_VALUE for word in data):
                raise serializers.ValidationError(f"A word has at most {MOST_VALUE:,} characters and no null character.")
            return data
        if not isinstance(data, dict) or len(data) > 200:
            raise serializers.ValidationError("Send an object of parameters, a list of words, or text.")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field(TEXT_OR_OBJECT)
class EnvironmentField(serializers.Field[Any, Any, Any, Any]):
    """`{NAME: value}`, or lines NAME=value. A value may be a reference: `secret:name/key`, or `{"secret": "name/key"}`."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if isinstance(data, str):
            lines = [
                line.strip().removeprefix("export ") for line in data.splitlines() if line.strip() and not line.strip().startswith("#")
            ]
            if not all("=" in line for line in lines):
                raise serializers.ValidationError("Lines of NAME=value.")
            data = dict(line.split("=", 1) for line in lines)
        if not isinstance(data, dict) or len(data) > 200:
            raise serializers.ValidationError("Send an object of names and values, at most 200.")
        found: dict[str, Any] = {}
        for name, value in data.items():
            if not isinstance(name, str) or not re.match(NAME, name) or FORBIDDEN.match(name):
                raise serializers.ValidationError(f"“{str(name)[:60]}” is no name of a variable that may be set.")
            if is_reference(value):
                value = {"secret": value}
            if isinstance(value, dict) and set(value) == {"secret"} and isinstance(value["secret"], str):
                try:
                    parse(value["secret"])
                except ValueError as error:
                    raise serializers.ValidationError(f"{name}: {error}") from error
                found[name] = {"secret": value["secret"]}
                continue
            if isinstance(value, bool) or not isinstance(value, str | int | float) or "\0" in str(value) or len(str(value)) > MOST_VALUE:
                raise serializers.ValidationError(f"{name}: text of at most {MOST_VALUE:,} characters.")
            found[name] = str(value)
        return found

    def to_representation(self, value: Any) -> Any:
        return value


class HowParams(serializers.Serializer[Any]):
    """How a script is run, wherever."""

    params = ValuesField(required=False)
    env = EnvironmentField(required=False, default=dict)
    su = serializers.BooleanField(required=False, default=False, help_text="As root, by sudo without a password.")
    dry = serializers.BooleanField(required=False, default=False, help_text="Parse it on the hosts (Ansible: --check), run nothing.")
    version = serializers.IntegerField(required=False, min_value=1)
    timeout = serializers.IntegerField(required=False, min_value=1, max_value=LONGEST_S - 600, default=3600, help_text="Seconds, a host.")
    wait = serializers.IntegerField(
        required=False, min_value=0, max_value=3600, default=0, help_text="Seconds to wait for a host that does not answer yet."
    )
    output_mib = serializers.IntegerField(required=False, min_value=1, max_value=4096, default=output.KEPT_MIB, help_text="Kept of a host.")
    job_id = ResourceField(Job, required=False, allow_null=True, help_text="Of the contract; nothing follows from it.")


class RunScriptParams(HowParams):
    """On one `machine`, on `machines`, or on what `search` selects."""

    machine = KindField("machine", required=False)
    machines = serializers.ListField(child=KindField("machine"), required=False, max_length=BULK_CAP)
    search = serializers.CharField(max_length=2000, required=False, allow_blank=True)
    concurrency = serializers.IntegerField(required=False, min_value=1, max_value=MOST_AT_ONCE, default=50, help_text="Hosts at a time.")
    wave = serializers.RegexField(
        r"^([1-9][0-9]{0,4}|[1-9][0-9]?%|100%|location|cloud)$",
        max_length=20,
        required=False,
        default="",
        allow_blank=True,
        help_text="One wave after the other: so many hosts, such a part of them, or a location or cloud at a time.",
    )
    stop_after = serializers.IntegerField(
        required=False, min_value=1, max_value=BULK_CAP, allow_null=True, default=None, help_text="Failures; then no further host begins."
    )
    retry_of = ResourceField(Run, required=False, help_text="The run of which this tries some hosts again.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        given = [name for name in ("machine", "machines", "search") if name in attrs]
        if len(given) != 1:
            raise serializers.ValidationError({"machine": ["Say where: machine, machines or search, one of them."]})
        return attrs


class RunOnParams(HowParams):
    """Which script."""

    script = ResourceField(Script)


class Running(Action):
    """What both ways of running have in common."""

    background = True
    exclusive = False
    cancellable = True
    bulk = False
    tier = 1
    queue = "runs"
    deadline_s = LONGEST_S

    def script_of(self, call: Call) -> Script:
        raise NotImplementedError

    def selector_of(self, call: Call) -> dict[str, Any]:
        raise NotImplementedError

    def check(self, call: Call) -> None:
        if call.job is not None:
            return  # it was looked at when it was asked for; its run says which version
        script, p = self.script_of(call), call.params
        p["pinned"] = _version(script, p.get("version"))
        given = p.get("params", {})
        p["values"] = values(p["pinned"].parameters, given if isinstance(given, dict) else {})
        secret_values.check(call.actor, references(p["pinned"].parameters, p["values"], p["env"]))
        if script.exec_type == Script.Exec.ANSIBLE and (why := ansible.missing()):
            raise Conflict(why, code="no_ssh_client")
        p["selector"] = self.selector_of(call)

    def asked(self, call: Call) -> None:
        script, p, job = self.script_of(call), call.params, call.job
        assert job is not None
        version: ScriptVersion = p["pinned"]
        Run.objects.create(
            id=job.pk,
            job=job,
            org_id=script.org_id,
            name=script.name,
            tags=script.tags,
            owner_id=call.actor.user_id,
            created_by_id=call.actor.user_id,
            script=script,
            version=version,
            version_number=version.number,
            exec_type=script.exec_type,
            selector=p["selector"],
            parameters=p["values"],
            arguments=p["params"] if isinstance(p.get("params"), list) else [],
            environment=p["env"],
            su=p["su"],
            dry=p["dry"],
            timeout_s=p["timeout"],
            concurrency=p.get("concurrency", 50),
            wave=p.get("wave", ""),
            stop_after=p.get("stop_after"),
            retry_of=p.get("retry_of"),
        )
        live.changed(script.org_id, "run", [job.pk])

    def undo(self, call: Call) -> None:
        assert call.job is not None
        Run.objects.filter(pk=call.job.pk, state=Run.State.QUEUED).update(state=Run.State.CANCELLED, finished_at=timezone.now())

    def stream(self, job: Job) -> str:
        return f"/api/v2/runs/{job.pk.hex}/stream"

    def run(self, call: Call) -> dict[str, Any]:
        job = call.job
        assert job is not None
        run = Run.objects.select_related("job", "version", "script").get(pk=job.pk)
        run.job = job
        run.state, run.started_at = Run.State.RUNNING, timezone.now()
        run.save(update_fields=["state", "started_at"])
        error: MistError | None = None
        try:
            carry_out(run, call)
        except MistError as caught:
            error = caught
        except OperationalError as caught:
            full = isinstance(caught.__cause__, DiskFull)
            why = "has no room left: free space on its disk" if full else "did not answer"
            detail = f"The database {why}. What was said could not be kept, and the scripts were stopped on their hosts; then try again."
            error = Failed(detail, code="database_full" if full else "database_unavailable")
            _give_up(run, error)
            raise error from caught
        except BaseException:
            _give_up(run, Failed("Mist itself failed at this.", code="internal_error"))
            raise
        by_state = counts(run)
        job.result = {"run": run.pk.hex, "hosts": by_state}
        bad = sum(by_state.get(state, 0) for state in (RunHost.State.FAILED, RunHost.State.UNKNOWN))
        if call.cancelled():
            finish(run, Run.State.CANCELLED, "It was stopped by hand.")
            raise Failed("It was stopped by hand.", code="cancelled")
        if error is not None:
            finish(run, Run.State.FAILED, error.detail)
            raise error
        if bad:
            note = f"{bad:,} of {run.total:,} hosts failed."
            finish(run, Run.State.FAILED, note)
            raise Failed(note, code="some_failed")
        finish(run, Run.State.SUCCEEDED)
        return job.result


@register
class RunScript(Running):
    """Run a script on many machines."""

    model = Script
    name = "run"
    params = RunScriptParams

    def script_of(self, call: Call) -> Script:
        script: Script = call.target
        return script

    def selector_of(self, call: Call) -> dict[str, Any]:
        p, actor = call.params, call.actor
        if "search" in p:
            count = select(actor, {"search": p["search"]}).count()
            if not count:
                raise Invalid("Nothing matches on which you may run scripts.", fields={"search": ["Nothing matches."]})
            if count > BULK_CAP:
                raise Invalid(f"More than {BULK_CAP:,} match. Narrow the search.", fields={"search": [f"At most {BULK_CAP:,}."]})
            return {"search": p["search"]}
        wanted = [p["machine"]] if "machine" in p else p["machines"]
        field = "machine" if "machine" in p else "machines"
        if not wanted:
            raise Invalid(fields={field: ["At least one."]})
        ids = _ids(actor, wanted, field)
        able = set(select(actor, {"ids": ids}).values_list("pk", flat=True))
        if not able:
            raise Denied("You may not run scripts there. Ask an owner of the organization.", reason="no statement allows machine.run")
        return {"ids": [pk.hex for pk in ids]}

    def needs(self, call: Call) -> list[str]:
        """It is an act on each of its machines."""
        actor, one = call.actor, get("machine.run")
        selector = call.params.get("selector") or Run.objects.get(pk=call.job.pk if call.job else None).selector
        rows = select(actor, selector).filter(Q(locked_at__isnull=False) | policy_of(actor).asks_q(Machine, one.right)).order_by("name")
        return guard.needs_of_each(Call(actor=actor, action=one, target=row) for row in rows[:5])

    def retried(self, job: Job) -> dict[str, Any]:
        return retry_params(Run.objects.get(pk=job.pk))


@register
class RunOn(Running):
    """Run a script on this machine."""

    model = Machine
    name = "run"
    params = RunOnParams

    def reason(self, machine: Machine) -> str | None:
        return not_running(machine)

    def script_of(self, call: Call) -> Script:
        script: Script = call.params["script"]
        return script

    def selector_of(self, call: Call) -> dict[str, Any]:
        if not guard.permits(call.actor, call.params["script"], "run"):
            raise Denied("You may not run this script. Ask an owner of the organization.", reason="no statement allows script.run")
        return {"ids": [call.target.pk.hex]}

    def needs(self, call: Call) -> list[str]:
        return guard.needs(Call(actor=call.actor, action=get("script.run"), target=call.params["script"]))


def not_running(machine: Machine) -> str | None:
    """Why nothing can be run on it now; None: it may answer."""
    if machine.missing_since is not None:
        return "It is not in its cloud any more."
    return f"It is {machine.state}." if machine.state in ASLEEP else None


def retry_params(run: Run) -> dict[str, Any]:
    """The same again, where it failed, was stopped, or nobody saw it end.  Raises: Conflict."""
    ids = run.hosts.filter(state__in=RunHost.AGAIN, machine__isnull=False).values_list("machine_id", flat=True)
    ids = ids or (run.hosts.none() if run.total else [UUID(pk) for pk in run.selector.get("ids", [])])
    if not ids:
        raise Conflict("On no host did it fail.", code="nothing_to_retry")
    return {
        "machines": [pk.hex for pk in ids],
        "params": run.arguments or run.parameters,
        "env": run.environment,
        "su": run.su,
        "dry": run.dry,
        "version": run.version_number,
        "timeout": run.timeout_s,
        "concurrency": run.concurrency,
        "wave": run.wave,
        "stop_after": run.stop_after,
        "retry_of": run.pk.hex,
    }


def select(actor: Actor, selector: dict[str, Any], verb: str = "run") -> QuerySet[Machine]:
    """The machines a selector means on which `actor` may do `verb`."""
    rows: QuerySet[Machine] = Machine.objects.visible_to(actor, verb)
    if "ids" in selector:
        return rows.filter(pk__in=selector["ids"])
    # Both conditions on one row: a subquery of ids is planned as a loop in a loop while the table has no statistics yet.
    found: QuerySet[Machine] = rows.visible_to(actor).filter(Machine.search_q(selector["search"], actor))
    return found


def _ids(actor: Actor, wanted: Sequence[str], field: str) -> list[UUID]:
    """Ids of machines named by id or exact name.  Raises: Invalid, in the words for what does not exist."""
    seen = Machine.objects.visible_to(actor)
    by_id = [pk for text in wanted if (pk := _uuid(text))]
    found = set(seen.filter(pk__in=by_id).values_list("pk", flat=True))
    names = [text for text in wanted if _uuid(text) not in found]
    named: dict[str, list[UUID]] = {}
    for pk, name in seen.filter(name__in=[n.replace("\0", "") for n in names]).values_list("pk", "name"):
        named.setdefault(name, []).append(pk)
    for text in names:
        if len(named.get(text, ())) != 1:
            raise Invalid(
                "Not found.", fields={field: ["Several have that name: send an id." if text in named else "Not found."]}, code="not_found"
            )
    return list(dict.fromkeys(pk if (pk := _uuid(text)) in found else named[text][0] for text in wanted))  # type: ignore[misc]


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None


def _version(script: Script, number: int | None) -> ScriptVersion:
    if number is None:
        return newest(script)
    found = ScriptVersion.objects.filter(script=script, number=number).first()
    if found is None:
        raise Invalid(fields={"version": [f"There are versions 1 to {script.latest}."]})
    return found


# --- in the worker ---------------------------------------------------------------------------------------------------


def carry_out(run: Run, call: Call) -> None:
    """Choose the hosts, then run on them until each has come to an end.  Raises: MistError."""
    if run.version is None or run.script is None:
        raise NotFound("The script was deleted meanwhile.", code="target_gone")
    actor = call.actor
    content = read(run.version)
    found = references(run.version.parameters, run.parameters, run.environment)
    values_of = secret_values.read(actor, found, why=f"{run.name}, run {run.pk.hex}")
    given = handed(run.version.parameters, run.parameters, words=run.arguments, environment=run.environment, secrets=values_of)
    given = Handed(environment=given.environment, words=given.words, secrets=tuple(values_of.values()))
    hosts = choose(run, actor)
    call.step("chosen", f"{len(hosts)} hosts")
    waves = engine.waves_of(hosts, run.wave, lambda host: host.place)
    loop = engine.loop()
    desk = Desk(run, actor, loop)
    cap = int(call.params.get("output_mib", output.KEPT_MIB)) << 20
    wait_s = float(call.params.get("wait", 0))
    if run.exec_type == Script.Exec.ANSIBLE:
        conductor: Any = ansible.Play(run, content, given, desk, cap=cap, wait_s=wait_s)
    else:
        conductor = engine.Conductor(run, order(content, given, dry=run.dry), given.secrets, desk, cap=cap, wait_s=wait_s)
    work = asyncio.run_coroutine_threadsafe(conductor.conduct(waves, ways), loop)
    try:
        desk.serve(work, call.cancelled, conductor.cancel)
    except BaseException:
        desk.close()
        loop.call_soon_threadsafe(conductor.cancel)  # nothing that nobody records goes on there
        work.cancel()
        raise


def _give_up(run: Run, error: Failed) -> None:
    """Its hosts and the run come to an end; where even that cannot be written, the sweep of scripts/recovery.py does it."""
    try:
        with transaction.atomic():
            waiting = (RunHost.State.CANCELLED, "cancelled", "The run ended before it began here.")
            abandon(run, began=(error.code, f"{error.detail} It may have ended here or not."), waiting=waiting)
            finish(run, Run.State.UNKNOWN, error.detail)
    except DatabaseError as failure:
        log.warning("run %s: its end could not be written (%s)", run.pk, type(failure).__name__)


def ways(hosts: Sequence[RunHost]) -> list[Reach]:
    """How each is reached, in their order."""
    machines = Machine.objects.select_related("cloud").in_bulk([host.machine_id for host in hosts])
    by_id = {way.machine.pk: way for way in reaches(machines.values())}
    gone = Rejected("It is not there any more.", code="target_gone")
    return [by_id.get(host.machine_id) or Reach(machine=Machine(name=host.name), error=gone) for host in hosts]  # type: ignore[arg-type]


def choose(run: Run, actor: Actor) -> list[RunHost]:
    """The rows of its hosts, made. Those it may or can not run on are skipped, with the reason.  Returns: those to run on."""
    able = set(select(actor, run.selector).values_list("pk", flat=True))
    seen = select(actor, run.selector, "read" if "ids" in run.selector else "run")  # who names a machine is told why not
    rows = list(seen.select_related("cloud", "location").order_by("name", "pk")[: BULK_CAP + 1])
    if len(rows) > BULK_CAP:
        raise Invalid(f"More than {BULK_CAP:,} match by now. Narrow the search.", code="too_many")
    hosts, skipped = [], []
    for machine in rows:
        place = machine.cloud.name if run.wave == "cloud" else (machine.location.name if machine.location else machine.cloud.name)
        host = RunHost(run=run, machine=machine, name=machine.name, place=place)
        if machine.pk not in able:
            ended(host, RunHost.State.SKIPPED, "denied", "You may not run scripts on it.")
        elif why := not_running(machine):
            ended(host, RunHost.State.SKIPPED, "not_running", why)
        (skipped if host.state == RunHost.State.SKIPPED else hosts).append(host)
    for number, wave in enumerate(engine.waves_of(hosts, run.wave, lambda host: host.place)):
        for host in wave:
            host.wave = number
    with transaction.atomic():
        RunHost.objects.bulk_create([*hosts, *skipped], batch_size=1000)
        run.total = len(rows)
        run.save(update_fields=["total"])
        if run.job.target_kind != "machine":
            records(run, actor, skipped, {})
        counts(run)
        live.changed(run.org_id, "run", [run.pk])
    return hosts
