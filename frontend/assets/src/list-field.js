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
        (next?.querySelector("input, select") ?? this.querySelector("[data-add]")).focus();
      }
    });
  }

  add() {
    const count = this.querySelector("input[data-count]");
    const number = Number(count.value);
    const template = this.querySelector("template");
    const made = document.createElement("template");
    made.innerHTML = template.innerHTML.replaceAll("__n__", String(number));
    const row = made.content.firstElementChild;
    this.querySelector(".list-field").append(row);
    count.value = String(number + 1);
    row.querySelector("input, select")?.focus();
  }
}

customElements.define("mist-list-field", MistListField);
