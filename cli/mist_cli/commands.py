"""Commands made from the catalogue: a noun is a group, an operation a command with an option a field."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from mist_cli import catalogue, contexts, show
from mist_cli.errors import Refused, Stop, Usage
from mist_cli.options import body, parameter

if TYPE_CHECKING:
    from mist_cli.client import Client

Json = dict[str, Any]
DISRUPTIVE, DESTRUCTIVE = 1, 2
LISTED = 100  # rows of a list when nothing is said
NAMED = 10  # targets named in a question
MACHINES = "machines"
WANTED = {"undo": "undone", "cancel": "cancelled"}  # of a job: {what is asked: the state it is to end in}


def client_of(ctx: click.Context) -> Client:
    """The client of the context this command works in.  Raises: Usage."""
    from mist_cli.client import Client

    state = ctx.find_root().obj
    if "client" not in state:
        state["client"] = Client(contexts.chosen(state["context"]))
    client: Client = state["client"]
    return client


def of(ctx: click.Context, *, asks: bool) -> Commands:
    """The commands of the chosen server: as cached, or asked for where `asks`.  Raises: Stop."""
    state = ctx.find_root().ensure_object(dict)
    state.setdefault("context", ctx.find_root().params.get("context_name", ""))
    if "commands" not in state:
        url = contexts.chosen(state["context"]).url
        known = catalogue.cached(url)
        if known is None and not asks:
            raise Usage("The server was not asked yet.")
        if known is None or (asks and catalogue.is_old(url)):
            known = catalogue.load(client_of(ctx))
        state["commands"] = Commands(ctx, known)
    found: Commands = state["commands"]
    return found


class Commands:
    """Those of one catalogue. A word that is not in it has it asked for once more: the server may have learnt it."""

    def __init__(self, ctx: click.Context, known: Json) -> None:
        self.ctx, self.known, self.is_fresh = ctx, known, False

    def nouns(self) -> list[str]:
        return sorted(self.known["nouns"])

    def verbs(self) -> list[str]:
        """Verbs of machines that may be said first: those that can be done to many."""
        machines = self.known["nouns"].get(MACHINES, {"commands": {}})["commands"]
        return sorted(name for name, command in machines.items() if command.get("bulk") and name not in ("edit",))

    def names(self) -> list[str]:
        return [*self.nouns(), *self.verbs()]

    def refresh(self) -> bool:
        """Ask the server, once.  Returns: is there something new?"""
        if self.is_fresh or self.ctx.resilient_parsing:
            return False
        before, self.is_fresh = self.known, True
        self.known = catalogue.load(client_of(self.ctx), fresh=True)
        return self.known != before

    def get(self, name: str) -> click.Command | None:
        if name in self.known["nouns"]:
            return Noun(self, name)
        if name in self.verbs():
            return verb(
                MACHINES, self.known["nouns"][MACHINES]["kind"], name, self.known["nouns"][MACHINES]["commands"][name], by_search=True
            )
        return self.get(name) if self.refresh() else None


class Noun(click.Group):
    """`mist machines …`: a verb of it, or else a search."""

    def __init__(self, commands: Commands, name: str) -> None:
        self.all, self.noun = commands, name
        kind = self.facts["kind"].replace("_", " ")
        super().__init__(
            name, help=f"What you may see of {name.replace('-', ' ')}, and what can be done to a {kind}.\n\nWithout a verb: list them."
        )

    @property
    def facts(self) -> Json:
        found: Json = self.all.known["nouns"][self.noun]
        return found

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(self.facts["commands"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        command = self.facts["commands"].get(cmd_name)
        if command is None:
            return None
        return made(self.noun, self.facts["kind"], cmd_name, command)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """What is no verb is what to list; what looks like one is not taken for a search."""
        first = args[0] if args else ""
        if first not in ("-h", "--help") and self.get_command(ctx, first) is None:
            near = difflib.get_close_matches(first, self.list_commands(ctx), 1, 0.75)
            if first and ":" not in first and (near or len(args) > 1) and not ctx.resilient_parsing and self.all.refresh():
                return self.parse_args(ctx, args)
            if near and len(args) > 1 and not first.startswith("-"):
                raise Usage(f"There is no verb “{first}” of {self.noun}. Did you mean {near[0]}?")
            if "list" not in self.facts["commands"]:
                raise Usage(f"{self.noun} cannot be listed. There is: {', '.join(self.list_commands(ctx))}.")
            args = ["list", *args]
        return super().parse_args(ctx, args)


def made(noun: str, kind: str, name: str, command: Json) -> click.Command:
    """The command of one operation."""
    if noun in ("machines", "sessions") and name in ("ssh", "join", "watch"):
        from mist_cli import terminal

        return terminal.ssh if noun == "machines" else terminal.of_session(name)
    if command.get("lists"):
        return lists(noun, command)
    if command["method"] == "GET":
        return reads(noun, name, command)
    if len(command["takes"]) == 1:
        return verb(noun, kind, name, command)
    return acts(noun, name, command)


def _about(command: Json) -> str:
    return str(command["about"])


def _common(*own: click.Parameter) -> list[click.Parameter]:
    shown = [
        click.Option(["-o", "--output"], type=click.Choice(show.FORMATS), default="table", show_default=True, help="How to show it."),
        click.Option(["-q", "--query"], default="", metavar="JMESPATH", help="Show this part of the answer alone."),
        click.Option(["-c", "--context", "context_name"], default="", metavar="NAME", help="The context to work in."),
    ]
    return [*own, *shown]


def _queries(command: Json, taken: Sequence[str] = ()) -> list[click.Parameter]:
    return [parameter(field, taken={f"--{name}" for name in ("output", "query", "context", *taken)}) for field in command["query"]]


def _asked(command: Json, given: Json) -> Json:
    values = {field["name"]: given.get(f"field_{field['name']}") for field in command["query"]}
    return {
        name: ",".join(value) if isinstance(value, tuple) else str(value).lower() if isinstance(value, bool) else value
        for name, value in values.items()
    }


def _in_context(ctx: click.Context, given: Json) -> Client:
    if given.get("context_name"):
        ctx.find_root().obj |= {"context": given["context_name"]}
        ctx.find_root().obj.pop("client", None)
    return client_of(ctx)


def names_argument(noun: str, metavar: str, *, required: bool = True, many: bool = True) -> click.Argument:
    from mist_cli.completion import names_of

    return click.Argument(
        ["names"], nargs=-1 if many else 1, required=required, metavar=f"{metavar}{'...' if many else ''}", shell_complete=names_of(noun)
    )


# --- reading ----------------------------------------------------------------------------------------------------------


def lists(noun: str, command: Json) -> click.Command:
    """`mist machines [SEARCH…]`."""
    path_takes = command["takes"]
    own: list[click.Parameter] = [click.Argument([f"path_{name}"], metavar=name.upper()) for name in path_takes]
    own += [
        click.Argument(["words"], nargs=-1, metavar="[SEARCH]..."),
        click.Option(["--sort"], default="", metavar="FIELD", help="Sort by it; -FIELD the other way."),
        click.Option(["--limit"], type=click.IntRange(1), default=LISTED, show_default=True, help="Rows."),
        click.Option(["--all", "everything"], is_flag=True, help="All rows, however many."),
        click.Option(["--columns"], default="", metavar="A,B,…", help="Which fields; tag:KEY is the value of a tag."),
        *_queries(command, ("sort", "limit", "all", "columns")),
    ]

    @click.pass_context
    def run(
        ctx: click.Context,
        /,
        words: tuple[str, ...],
        sort: str,
        limit: int,
        everything: bool,
        columns: str,
        output: str,
        query: str,
        **given: Any,
    ) -> None:
        client = _in_context(ctx, given)
        wanted = [name.strip() for name in columns.split(",") if name.strip()]
        asked: Json = {**_asked(command, given), "search": joined(words), "sort": sort}
        if words and not command["search"]:
            raise Usage(f"{noun} cannot be searched.")
        if wanted and command["only"]:
            asked["only"] = ",".join(dict.fromkeys("tags" if name.startswith("tag:") else name.partition(".")[0] for name in wanted))
        from mist_cli.client import fill

        path = fill(command["path"], *(given[f"path_{name}"] for name in path_takes))
        rows: list[Json] = []
        meta: Json = {}
        try:
            for page, meta in client.pages(path, asked, None if everything else limit, by_cursor=command["cursor"]):  # noqa: B007
                rows += page
        except Refused as refusal:
            raise pointed(refusal, asked["search"]) from None
        total = meta.get("total", len(rows))
        show.show(rows, output, query, wanted)
        if len(rows) < total and (meta.get("next") or not command["cursor"]) and output == "table":
            about = "about " if meta.get("total_is_estimate") else ""
            click.echo(f"{len(rows)} of {about}{total:,}. All: --all", err=True)
        elif not rows and output == "table" and not query:
            click.echo(
                f"No {noun.replace('-', ' ')} match." if words else f"There are no {noun.replace('-', ' ')} that you may see.", err=True
            )

    return click.Command("list", callback=run, params=_common(*own), help=_about(command))


def joined(words: Sequence[str]) -> str:
    """Words of a command line as one search."""
    return " ".join(words).strip()


def pointed(refusal: Refused, search: str) -> Stop:
    """A wrong search, with the character under which it went wrong."""
    at = refusal.body.get("position")
    if not isinstance(at, int) or not search:
        return refusal
    refusal.more += [f"  {search}", f"  {' ' * at}^"]
    return refusal


def reads(noun: str, name: str, command: Json) -> click.Command:
    """`mist machines show web-1`: one object, some of it, or a file."""
    own: list[click.Parameter] = [_path_argument(noun, which, at) for at, which in enumerate(command["takes"])]
    if command.get("only"):
        own.append(click.Option(["--columns"], default="", metavar="A,B,…", help="Which fields."))
    own += _queries(command, ("columns",))

    @click.pass_context
    def run(ctx: click.Context, /, output: str, query: str, columns: str = "", **given: Any) -> None:
        from mist_cli.client import fill

        client = _in_context(ctx, given)
        path = fill(command["path"], *(given[f"path_{which}"] for which in command["takes"]))
        asked = _asked(command, given)
        if command.get("media"):
            _raw(client, path, asked)
            return
        wanted = [one.strip() for one in columns.split(",") if one.strip()]
        only = {"only": ",".join(dict.fromkeys(one.partition(".")[0] for one in wanted))} if wanted else {}
        try:
            data = client.get(path, **asked, **only)
        except Refused as refusal:
            raise told(client, noun, refusal) from None
        show.show(data, output, query, wanted)

    return click.Command(name, callback=run, params=_common(*own), help=_about(command))


def _path_argument(noun: str, which: str, at: int) -> click.Argument:
    from mist_cli.completion import names_of

    return click.Argument([f"path_{which}"], metavar=which.upper(), shell_complete=names_of(noun) if at == 0 else None)


def _raw(client: Client, path: str, asked: Json) -> None:
    """A file, as it is, to standard output."""
    answer = client.ask("GET", path, query={k: v for k, v in asked.items() if v not in (None, "")}, headers={"Accept": "*/*"})
    sys.stdout.buffer.write(answer.content)


# --- acting -----------------------------------------------------------------------------------------------------------


def acts(noun: str, name: str, command: Json) -> click.Command:
    """A create, or something else that is no verb of one row."""
    fields = command.get("fields", [])
    own: list[click.Parameter] = [click.Argument([f"path_{which}"], metavar=which.upper()) for which in command["takes"]]
    own += _act_options(command, fields)

    @click.pass_context
    def run(ctx: click.Context, /, output: str, query: str, wait: bool, dry_run: bool, yes: bool, data: str = "", **given: Any) -> None:
        from mist_cli import jobs
        from mist_cli.client import fill

        client = _in_context(ctx, given)
        sent = body(fields, given, data)
        dry = next((field["name"] for field in fields if field["name"] in ("dry", "dry_run")), "")
        if dry_run and not dry:
            raise Usage(f"{noun} {name} has no dry run.")
        sent |= {dry: True} if dry_run else {}
        path = fill(command["path"], *(given[f"path_{which}"] for which in command["takes"]))
        if command["method"] == "DELETE" and not dry_run:
            _confirm(f"{name.replace('-', ' ').capitalize()} {' '.join(given[f'path_{w}'] for w in command['takes'])}?", yes)
        answer = client.send(command["method"], path, sent, **_asked(command, given))
        if isinstance(answer, dict) and answer.get("jobId") and answer.get("state") in jobs.ACTIVE and wait:
            asked = [one["jobId"] for one in answer.get("jobs") or [answer]]
            finish(client, [jobs.follow(client, one) for one in asked], output, query)
            return
        show.show(answer, output, query)

    return click.Command(name, callback=run, params=_common(*own), help=_about(command))


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
        client = _in_context(ctx, given)
        if by_search:
            search, names = joined(names), ()
        if bool(names) == bool(search):
            raise Usage(
                f"Say which: {'a search, as state:running' if by_search else 'names, or --search'}, and not both."
                if names
                else f"Say which {noun}: {'a search' if by_search else 'names or ids'}."
            )
        Act(client, noun, kind, name, command, body(fields, given, data), _asked(command, given), wait=wait, yes=yes).run(
            list(names), search, output, query, dry_run=dry_run
        )

    return click.Command(name, callback=run, params=_common(*own), help=_about(command))


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
        which: Json = {"search": search} if search else {"ids": [row["id"] for row in rows]}
        if dry_run:
            self._preview(which, output, query)
            return
        self._ask(rows, search)
        if search or (len(rows) > 1 and self.command.get("bulk")):
            undo = {"undo_s": self.asked["undo_s"]} if self.asked.get("undo_s") is not None else {}
            many = {"kind": self.kind, "action": self._verb(), "params": self.sent, **which, **undo}
            answers = [self._sent("POST", "/bulk", many, search)]
        else:
            from mist_cli.client import fill

            answers = [
                self._sent(self.command["method"], fill(self.command["path"], row["id"]), self.sent, "", **self.asked) for row in rows
            ]
        if not answers or not all(isinstance(answer, dict) and answer.get("jobId") for answer in answers):
            show.show(answers[0] if len(answers) == 1 else answers, output, query)  # an edit answers with the row
            return
        if not self.wait:
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
        found = self._sent(
            "POST", "/bulk", {"kind": self.kind, "action": self._verb(), "params": self.sent, "dry": True, **which}, which.get("search", "")
        )
        show.show(found, output, query)

    def _ask(self, rows: list[Json], search: str) -> None:
        """The tiers of the console: what disrupts is asked about where a search chose, what destroys always."""
        if self.yes or self.tier < DISRUPTIVE or (self.tier < DESTRUCTIVE and not search):
            return
        if search:
            found = self._sent(
                "POST", "/bulk", {"kind": self.kind, "action": self._verb(), "params": self.sent, "dry": True, "search": search}, search
            )
            if not found["count"]:
                raise Stop(f"No {self.noun} match.")
            some, _ = next(self.client.pages(f"/{self.noun}", {"search": search, "only": "name"}, NAMED))
            what = f"{found['count']} {self.noun if found['count'] != 1 else self.kind} ({self._named(some, found['count'])})"
            if found["able"] < found["counted"]:
                what += f", of which {found['able']} can"
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


def find(client: Client, noun: str, name: str) -> Json:
    """`{"id", "name"}` of what a name or id means.  Raises: Refused, which says of an ambiguous one which they are."""
    from mist_cli.client import fill

    try:
        found = client.get(fill(f"/{'auth/' if noun == 'tokens' else ''}{noun}/{{one}}", name))
    except Refused as refusal:
        raise told(client, noun, refusal, name) from None
    return {"id": str(found.get("id", name)), "name": str(found.get("name") or found.get("target_name") or name)}


def told(client: Client, noun: str, refusal: Refused, name: str = "") -> Refused:
    """The refusal, with the name it is about, and of an ambiguous one the candidates."""
    if refusal.code == "not_found" and name:
        refusal.about = f"There is no “{name}” among the {noun.replace('-', ' ')} you may see."
    for one in refusal.body.get("ids", []) if refusal.code == "ambiguous_name" else []:
        try:
            row = client.get(f"/{noun}/{one}")
        except Refused:
            continue
        facts = " ".join(str(row[key]) for key in ("name", "cloud", "state", "location") if row.get(key))
        refusal.more.append(f"  {one}  {show.plain(facts)}")
    return refusal
