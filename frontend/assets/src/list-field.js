/* <mist-list-field>: rows of a list field are added from its <template> and removed in place.
   Without script the same buttons submit the form, and the server adds a row. */

class MistListField extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (!button) return;
      if (button.dataset.add !== undefined) {
        event.preventDefault();
        this.add();
      } else if (button.dataset.remove !== undefined) {
        event.preventDefault();
        const row = button.closest(".list-row");
        const next = row.nextElementSibling ?? row.previousElementSibling;
        row.remove();
        this.dispatchEvent(new Event("input", { bubbles: true })); /* the form is another now: its draft too */
        (next?.querySelector("input, select") ?? this.querySelector("[data-add]")).focus();
      }
    });
  }

  add() {
    this.make(Number(this.querySelector("input[data-count]").value)).querySelector("input, select")?.focus();
  }

  make(number) {
    const count = this.querySelector("input[data-count]");
    const made = document.createElement("template");
    made.innerHTML = this.querySelector("template").innerHTML.replaceAll("__n__", String(number));
    const row = made.content.firstElementChild;
    this.querySelector(".list-field").append(row);
    count.value = String(Math.max(Number(count.value), number + 1));
    return row;
  }

  /* The rows that fields of these names stood in: those that lack are made, those that were removed go. */
  become(names) {
    const [prefix] = this.querySelector("template").content.querySelector("[name]").name.split("__n__");
    const numberOf = (name) => (name.startsWith(prefix) ? /^\d+(?=-)/.exec(name.slice(prefix.length))?.[0] : undefined);
    const wanted = new Set(names.map(numberOf).filter((number) => number !== undefined));
    if (!wanted.size) return;
    for (const row of this.querySelectorAll(".list-row")) {
      if (!wanted.delete(numberOf(row.querySelector("[name]").name))) row.remove();
    }
    for (const number of wanted) this.make(Number(number));
  }
}

customElements.define("mist-list-field", MistListField);
