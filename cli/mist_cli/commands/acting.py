"""Commands that act: what is made, and verbs of one row or of many."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from mist_cli import catalogue, show
from mist_cli.commands.said import Json, about, asked_of, common, find, in_context, joined, names_argument, pointed
from mist_cli.errors import Refused, Stop, Usage
from mist_cli.options import body, parameter

if TYPE_CHECKING:
    from mist_cli.client import Client

DISRUPTIVE, DESTRUCTIVE = 1, 2
NAMED = 10  # targets named in a question
WANTED = {"undo": "undone", "cancel": "cancelled", "decline": "cancelled"}  # of a job: {what is asked: the state it is to end in}


def acts(noun: str, name: str, command: Json) -> click.Command:
    """A create, or something else that is no verb of one row."""
    fields = command.get("fields", [])
    own: list[click.Parameter] = [click.Argument([f"path_{which}"], metavar=which.upper()) for which in command["takes"]]
    own += _act_options(command, fields)

    @click.pass_context
    def run(ctx: click.Context, /, output: str, query: str, wait: bool, dry_run: bool, yes: bool, data: str = "", **given: Any) -> None:
        from mist_cli import jobs
        from mist_cli.client import fill

        client = in_context(ctx, given)
        sent = body(fields, given, data)
        dry = next((field["name"] for field in fields if field["name"] in ("dry", "dry_run")), "")
        if dry_run and not dry:
            raise Usage(f"{noun} {name} has no dry run.")
        sent |= {dry: True} if dry_run else {}
        path = fill(command["path"], *(given[f"path_{which}"] for which in command["takes"]))
        if command["method"] == "DELETE" and not dry_run:
            _confirm(f"{name.replace('-', ' ').capitalize()} {' '.join(given[f'path_{w}'] for w in command['takes'])}?", yes)
        answer = client.send(command["method"], path, sent, **asked_of(command, given))
        if isinstance(answer, dict) and answer.get("state") == jobs.ASKED:
            jobs.tell_asked(answer)
        if isinstance(answer, dict) and answer.get("jobId") and answer.get("state") in jobs.ACTIVE and wait:
            asked = [one["jobId"] for one in answer.get("jobs") or [answer]]
            finish(client, [jobs.follow(client, one) for one in asked], output, query)
            return
        show.show(answer, output, query)

    return click.Command(name, callback=run, params=common(*own), help=about(command))


def _act_options(command: Json, fields: list[Json]) -> list[click.Parameter]:
    taken = {f"--{name}" for name in ("output", "query", "context", "wait", "dry-run", "yes", "data", "search")}
    own: list[click.Parameter] = [parameter(f, taken=taken) for f in fields if f["name"] not in ("dry", "dry_run")]
    own += [parameter(field, taken=taken) for field in command["query"]]
    if fields:
        own.append(click.Option(["--data"], default="", metavar="JSON|@FILE|-", help="The whole body; options win."))
    return [
        *own,
        click.Option(["--wait/--no-wait"], default=True, show_default=True, help="Follow it to its end."),
        click.Option(["--dry-run"], is_flag=True, help="Tell what would be done, and do nothing."),
        click.Option(["-y", "--yes"], is_flag=True, help="Do not ask."),
    ]


def verb(noun: str, kind: str, name: str, command: Json, *, by_search: bool = False) -> click.Command:
    """`mist machines stop web-1 db-1`; `by_search`: `mist stop tag:env=dev`."""
    fields = command.get("fields", [])
    own: list[click.Parameter] = [
        click.Argument(["names"], nargs=-1, metavar="SEARCH...")
        if by_search
        else names_argument(noun, kind.upper().replace("_", "-"), required=not command.get("bulk"))
    ]
    if command.get("bulk") and not by_search:
        own.append(click.Option(["--search"], default="", metavar="SEARCH", help="On all that match, in place of names."))
    own += _act_options(command, fields)

    @click.pass_context
    def run(
        ctx: click.Context,
        /,
        names: tuple[str, ...],
        output: str,
        query: str,
        wait: bool,
        dry_run: bool,
        yes: bool,
        data: str = "",
        search: str = "",
        **given: Any,
    ) -> None:
        client = in_context(ctx, given)
        if by_search:
            search, names = joined(names), ()
        if bool(names) == bool(search):
            raise Usage(
                f"Say which: {'a search, as state:running' if by_search else 'names, or --search'}, and not both."
                if names
                else f"Say which {noun}: {'a search' if by_search else 'names or ids'}."
            )
        Act(client, noun, kind, name, command, body(fields, given, data), asked_of(command, given), wait=wait, yes=yes).run(
            list(names), search, output, query, dry_run=dry_run
        )

    return click.Command(name, callback=run, params=common(*own), help=about(command))


class Act:
    """One verb on some rows: found, asked about, done, followed."""

    def __init__(
        self, client: Client, noun: str, kind: str, name: str, command: Json, sent: Json, asked: Json, *, wait: bool, yes: bool
    ) -> None:
        self.client, self.noun, self.name, self.command = client, noun, name, command
        self.kind = str(command.get("verb", f"{kind}.")).split(".")[0]
        self.sent, self.asked, self.wait, self.yes = sent, asked, wait, yes
        self.tier = int(command.get("tier", DESTRUCTIVE if command["method"] == "DELETE" else 0))

    def run(self, names: list[str], search: str, output: str, query: str, *, dry_run: bool) -> None:
        from mist_cli import jobs

        rows = [find(self.client, self.noun, name) for name in names]
        if self.noun == "approvals" and self.name == "approve":
            self.tier = max(tier_of(self.client.context.url, row["action"]) for row in rows)
        which: Json = {"search": search} if search else {"ids": [row["id"] for row in rows]}
        if dry_run:
            self._preview(which, output, query)
            return
        self._ask(rows, search)
        if search or (len(rows) > 1 and self.command.get("bulk")):
            undo = {"undo_s": self.asked["undo_s"]} if self.asked.get("undo_s") is not None else {}
            many = {"kind": self.kind, "action": self._verb(), "params": self.sent, **which, **undo}
            answers = [self._sent("POST", "/bulk", many, search, ask=self.asked.get("ask"))]
        else:
            from mist_cli.client import fill

            answers = [
                self._sent(self.command["method"], fill(self.command["path"], row["id"]), self.sent, "", **self.asked) for row in rows
            ]
        if not answers or not all(isinstance(answer, dict) and answer.get("jobId") for answer in answers):
            show.show(answers[0] if len(answers) == 1 else answers, output, query)  # an edit answers with the row
            return
        waiting = [(answer, row) for answer, row in zip(answers, rows or [{}], strict=False) if answer["state"] == jobs.ASKED]
        for answer, row in waiting:
            jobs.tell_asked(answer, row.get("name", "") if len(answers) == len(rows) else "")
        if not self.wait or waiting:
            show.show([{"id": answer["jobId"], "action": answer["action"], "state": answer["state"]} for answer in answers], output, query)
            return
        wanted = WANTED.get(self.name, "") if not self.command.get("verb") else ""
        finish(self.client, [jobs.follow(self.client, answer["jobId"]) for answer in answers], output, query, wanted)

    def _sent(self, method: str, path: str, sent: Json, search: str, **query: Any) -> Any:
        try:
            return self.client.send(method, path, sent or None, **query)
        except Refused as refusal:
            raise pointed(refusal, search) from None

    def _verb(self) -> str:
        return str(self.command.get("verb", "")).partition(".")[2] or self.name.replace("-", "_")

    def _preview(self, which: Json, output: str, query: str) -> None:
        """How many match, how many of them can, and why the others cannot."""
        if not self.command.get("verb"):
            raise Usage(f"{self.noun} {self.name} has no dry run.")
        show.show(self._dry(which), output, query)

    def _dry(self, which: Json) -> Json:
        body = {"kind": self.kind, "action": self._verb(), "params": self.sent, "dry": True, **which}
        found: Json = self._sent("POST", "/bulk", body, which.get("search", ""), ask=self.asked.get("ask"))
        return found

    def _ask(self, rows: list[Json], search: str) -> None:
        """The tiers of the console: what disrupts is asked about where a search chose, what destroys always, and so is a yes to it."""
        from mist_cli import jobs

        if self.yes or self.tier < DISRUPTIVE or (self.tier < DESTRUCTIVE and not search):
            return
        if search:
            found = self._dry({"search": search})
            if not found["count"]:
                raise Stop(f"No {self.noun} match.")
            some, _ = next(self.client.pages(f"/{self.noun}", {"search": search, "only": "name"}, NAMED))
            what = f"{found['count']} {self.noun if found['count'] != 1 else self.kind} ({self._named(some, found['count'])})"
            if found["able"] < found["counted"]:
                what += f", of which {found['able']} can"
        elif self.noun == "approvals":
            what = "; ".join(f"{jobs.name_of({**row, 'target_name': row['name']})} (for: {show.plain(row['ask'])})" for row in rows[:NAMED])
        else:
            what = self._named(rows, len(rows))
        words = self.name.replace("-", " ").capitalize()
        if self.tier < DESTRUCTIVE:
            _confirm(f"{words} {what}?", self.yes)
        else:
            _confirm(
                f"{words} {what}? This cannot be undone once it has begun.",
                self.yes,
                typed=rows[0]["name"] if len(rows) == 1 else self.name,
            )

    @staticmethod
    def _named(rows: list[Json], count: int) -> str:
        names = ", ".join(show.plain(str(row.get("name") or row["id"])) for row in rows[:NAMED])
        return f"{names} and {count - NAMED:,} more" if count > NAMED else names


def tier_of(url: str, verb: str) -> int:
    """How much is at stake with a verb of this server's; one that it does not tell of: the most."""
    nouns = (catalogue.cached(url) or {}).get("nouns", {}).values()
    found = (command for noun in nouns for command in noun["commands"].values() if command.get("verb") == verb)
    return next((int(command.get("tier", DESTRUCTIVE if command["method"] == "DELETE" else 0)) for command in found), DESTRUCTIVE)


def _confirm(question: str, yes: bool, typed: str = "") -> None:
    """Raises: Usage, where nobody can be asked; Abort."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Usage(f"{question} Nobody is here to answer: add --yes.")
    if not typed:
        click.confirm(question, abort=True, err=True)
        return
    typed = show.plain(typed)
    if click.prompt(f"{question}\nType “{typed}” to go on", err=True, default="", show_default=False).strip() != typed:
        raise Stop("Nothing was done.")


def finish(client: Client, done: list[Json], output: str, query: str, wanted: str = "") -> None:
    """Show what came of jobs; what failed is told, and is the exit code. `wanted`: a state beside success that is one."""
    from mist_cli import jobs

    rows = [row for job in done for row in jobs.results(client, job)]
    show.show(
        [jobs.row_of(row) for row in rows], output, query, () if output != "table" or query else ("target_name", "action", "state", "id")
    )
    for row in rows:
        if output == "table" and not query and jobs.is_good(row) and _tells(row.get("result")):
            show.show(row["result"])
    jobs.tell_failures([row for row in rows if row["state"] != wanted])
    if not all(jobs.is_good(job) or job["state"] == wanted for job in done):
        raise click.exceptions.Exit(1)


def _tells(result: Any) -> bool:
    """Is there more in it than which row it was?"""
    return isinstance(result, dict) and any(key not in ("machine", "session", "run", "id") for key in result)
