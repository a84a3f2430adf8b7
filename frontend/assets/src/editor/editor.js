/* <mist-editor><textarea name="script">: CodeMirror over the field, which keeps the text for the form. Without it the field itself
   is the editor. The language is what the first line (or the form's kind) says. */
import "./editor.css";
import { defaultKeymap, history, historyKeymap, indentWithTab } from "@codemirror/commands";
import { python } from "@codemirror/lang-python";
import { yaml } from "@codemirror/lang-yaml";
import { HighlightStyle, StreamLanguage, bracketMatching, indentOnInput, syntaxHighlighting } from "@codemirror/language";
import { shell } from "@codemirror/legacy-modes/mode/shell";
import { highlightSelectionMatches, searchKeymap } from "@codemirror/search";
import { Compartment, EditorState } from "@codemirror/state";
import { EditorView, drawSelection, highlightActiveLine, highlightActiveLineGutter, keymap, lineNumbers } from "@codemirror/view";
import { tags } from "@lezer/highlight";

const colours = HighlightStyle.define([
  { tag: [tags.keyword, tags.operatorKeyword, tags.controlKeyword], color: "var(--accent)" },
  { tag: [tags.string, tags.special(tags.string)], color: "var(--ok)" },
  { tag: [tags.comment, tags.meta], color: "var(--ink-3)" },
  { tag: [tags.number, tags.bool, tags.atom], color: "var(--violet)" },
  { tag: [tags.variableName, tags.propertyName, tags.definition(tags.variableName)], color: "var(--warn)" },
]);
const theme = EditorView.theme({
  ".cm-scroller": { fontFamily: "var(--font-mono)", lineHeight: "1.6" },
  ".cm-gutters": { backgroundColor: "var(--sunken)", color: "var(--ink-3)", border: "0" },
  ".cm-activeLine, .cm-activeLineGutter": { backgroundColor: "color-mix(in srgb, var(--accent) 6%, transparent)" },
  "&.cm-focused .cm-selectionBackground, .cm-selectionBackground": { backgroundColor: "var(--accent-soft) !important" },
  ".cm-cursor": { borderLeftColor: "var(--ink)" },
});

function language(text, kind) {
  const first = text.slice(0, 200).split("\n", 1)[0];
  if (kind === "ansible" || /^---/.test(first)) return yaml();
  if (/^#!.*python/.test(first)) return python();
  return StreamLanguage.define(shell);
}

class MistEditor extends HTMLElement {
  connectedCallback() {
    const field = this.querySelector("textarea");
    const form = field.form;
    const kind = form?.elements.exec_type;
    const speaks = new Compartment();
    const now = () => language(field.value, kind?.value);
    this.view = new EditorView({
      parent: this,
      doc: field.value,
      extensions: [
        EditorView.cspNonce.of(form?.dataset.nonce ?? ""),
        lineNumbers(),
        history(),
        drawSelection(),
        indentOnInput(),
        bracketMatching(),
        highlightActiveLine(),
        highlightActiveLineGutter(),
        highlightSelectionMatches(),
        syntaxHighlighting(colours),
        theme,
        EditorState.readOnly.of(field.readOnly),
        EditorView.contentAttributes.of({ "aria-label": form?.querySelector(`label[for="${field.id}"]`)?.textContent ?? "", ...(field.readOnly ? { tabindex: "0" } : {}) }),
        /* Escape, then Tab leaves the editor: the keyboard is not caught */
        keymap.of([...defaultKeymap, ...historyKeymap, ...searchKeymap, indentWithTab]),
        speaks.of(now()),
        EditorView.updateListener.of((update) => {
          if (!update.docChanged) return;
          field.value = update.state.doc.toString();
          field.dispatchEvent(new Event("input", { bubbles: true }));
        }),
      ],
    });
    field.tabIndex = -1;
    field.setAttribute("aria-hidden", "true");
    this.classList.add("on");
    const again = () => this.view.dispatch({ effects: speaks.reconfigure(now()) });
    kind?.addEventListener("change", again);
    this.view.contentDOM.addEventListener("blur", again);
  }

  disconnectedCallback() {
    this.view?.destroy();
  }
}

customElements.define("mist-editor", MistEditor);
