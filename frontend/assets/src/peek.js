/* [data-peek="<id>"]: shows what is typed into a password field, until it is pressed again or the form is sent. */
for (const button of document.querySelectorAll("[data-peek]")) {
  const field = document.getElementById(button.dataset.peek);
  const show = (shown) => {
    field.type = shown ? "text" : "password";
    button.setAttribute("aria-pressed", shown);
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    show(field.type === "password");
    field.focus();
  });
  field.form.addEventListener("submit", () => show(false));
}
