/* <mist-brush data-since data-step data-bins>: a part of the bars, drawn with the pointer, is what the list shows. One bar by a
   click; the whole again by a double click. By keyboard, and without this script, the menu of the range does the same. */

const SVG = "http://www.w3.org/2000/svg";

class MistBrush extends HTMLElement {
  connectedCallback() {
    this.addEventListener("pointerdown", (event) => this.down(event));
    this.addEventListener("pointermove", (event) => this.moved(event));
    this.addEventListener("pointerup", (event) => this.up(event));
    this.addEventListener("pointercancel", () => this.drop());
    this.addEventListener("dblclick", () => this.go(null));
  }

  /* Is the pointer at work? Then nothing is put in its place. */
  get busy() {
    return this.from !== undefined || this.leaving !== undefined;
  }

  bin(event) {
    const box = this.getBoundingClientRect();
    const share = (event.clientX - box.left) / box.width;
    return Math.max(0, Math.min(Number(this.dataset.bins) - 1, Math.floor(share * Number(this.dataset.bins))));
  }

  down(event) {
    if (event.button !== 0) return;
    clearTimeout(this.leaving);
    this.from = this.to = this.bin(event);
    this.setPointerCapture(event.pointerId);
    this.draw();
  }

  moved(event) {
    if (this.from === undefined) return;
    this.to = this.bin(event);
    this.draw();
  }

  up(event) {
    if (this.from === undefined) return;
    const [low, high] = [Math.min(this.from, this.to), Math.max(this.from, this.to) + 1];
    this.releasePointerCapture(event.pointerId);
    this.from = undefined;
    this.leaving = setTimeout(() => this.go([low, high]), 250); // a second click within it means the whole
  }

  drop() {
    this.from = undefined;
    this.querySelector("rect.brush")?.remove();
  }

  draw() {
    const svg = this.querySelector("svg");
    let rect = svg.querySelector("rect.brush");
    if (!rect) {
      rect = document.createElementNS(SVG, "rect");
      for (const [name, value] of Object.entries({ class: "brush", y: 4, height: 68, rx: 3 })) rect.setAttribute(name, value);
      svg.append(rect);
    }
    const one = 100 / Number(this.dataset.bins);
    rect.setAttribute("x", `${Math.min(this.from, this.to) * one}%`);
    rect.setAttribute("width", `${(Math.abs(this.to - this.from) + 1) * one}%`);
  }

  go(bins) {
    clearTimeout(this.leaving);
    const there = new URL(location.href);
    for (const name of ["since", "until", "cursor", "back", "from"]) there.searchParams.delete(name);
    if (bins) {
      const at = (n) => new Date(Date.parse(this.dataset.since) + n * Number(this.dataset.step) * 1000).toISOString().replace(".000", "");
      there.searchParams.set("since", at(bins[0]));
      there.searchParams.set("until", at(bins[1]));
    }
    location.assign(there);
  }
}

customElements.define("mist-brush", MistBrush);
