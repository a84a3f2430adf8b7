import js from "@eslint/js";

const browser = Object.fromEntries(
  ["window", "document", "location", "customElements", "HTMLElement", "HTMLInputElement", "Element", "CustomEvent", "MutationObserver", "DOMParser", "WebSocket", "FormData", "DataTransfer", "fetch", "navigator", "sessionStorage", "getSelection", "setTimeout", "clearTimeout", "setInterval", "clearInterval", "innerWidth", "innerHeight", "Intl", "URL", "console", "process", "getComputedStyle", "ResizeObserver", "performance", "history", "URLSearchParams", "localStorage", "TextEncoder", "TextDecoderStream", "AbortController", "Event"].map((name) => [name, "readonly"]),
);

export default [
  js.configs.recommended,
  { languageOptions: { ecmaVersion: 2023, sourceType: "module", globals: browser }, rules: { eqeqeq: "error", "no-eval": "error", "no-implied-eval": "error" } },
];
