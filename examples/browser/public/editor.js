// A textarea with line numbers, colours, a marked line, and indentation.

import { highlighted } from "./highlight.js";

export class Editor {
  #area;
  #copy;
  #gutter;
  #bad = 0;
  #lines = 0;
  /** Whether the next Tab leaves the editor. */
  #leaving = false;

  constructor(root, { onChange, onRun }) {
    this.#area = root.querySelector("textarea");
    this.#copy = root.querySelector("pre");
    this.#gutter = root.querySelector(".gutter");
    this.#area.addEventListener("input", () => {
      this.#bad = 0;
      this.#draw();
      onChange(this.text);
    });
    this.#area.addEventListener("scroll", () => this.#follow());
    this.#area.addEventListener("blur", () => (this.#leaving = false));
    this.#area.addEventListener("keydown", (event) => this.#key(event, onRun));
  }

  get text() {
    return this.#area.value;
  }

  set text(text) {
    this.#area.value = text;
    this.#area.setSelectionRange(0, 0);
    this.#area.scrollTo(0, 0);
    this.#bad = 0;
    this.#draw();
  }

  /** Marks a line; 0 for none. */
  mark(line) {
    this.#bad = line;
    this.#draw();
  }

  /** Puts the cursor on this line. */
  goTo(line) {
    const lines = this.text.split("\n");
    const start = lines.slice(0, line - 1).reduce((n, text) => n + text.length + 1, 0);
    this.#area.focus();
    this.#area.setSelectionRange(start, start + (lines[line - 1]?.length ?? 0));
    const height = Number.parseFloat(getComputedStyle(this.#area).lineHeight);
    this.#area.scrollTop = Math.max(0, (line - 4) * height);
  }

  #draw() {
    const { text } = this;
    this.#copy.replaceChildren(highlighted(text, this.#bad), "\n");
    const lines = text.split("\n").length;
    if (lines !== this.#lines) {
      this.#lines = lines;
      this.#gutter.replaceChildren(
        ...Array.from({ length: lines }, (_, i) => {
          const number = document.createElement("div");
          number.textContent = i + 1;
          return number;
        }),
      );
    }
    this.#gutter.querySelector(".bad")?.classList.remove("bad");
    this.#gutter.children[this.#bad - 1]?.classList.add("bad");
    this.#follow();
  }

  #follow() {
    const { scrollTop, scrollLeft } = this.#area;
    this.#copy.scrollTop = scrollTop;
    this.#copy.scrollLeft = scrollLeft;
    this.#gutter.scrollTop = scrollTop;
  }

  #key(event, onRun) {
    const leaving = this.#leaving;
    this.#leaving = event.key === "Escape" || (leaving && (event.key === "Shift" || event.key === "Tab"));
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      onRun();
    } else if (event.key === "Tab" && !leaving && !event.ctrlKey && !event.altKey && !event.metaKey) {
      event.preventDefault();
      this.#indent(event.shiftKey);
    } else if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      this.#newLine();
    }
  }

  /** Puts text in place of what is selected, so that undo knows of it. */
  #insert(text) {
    if (!document.execCommand("insertText", false, text)) {
      this.#area.setRangeText(text, this.#area.selectionStart, this.#area.selectionEnd, "end");
      this.#area.dispatchEvent(new Event("input"));
    }
  }

  #newLine() {
    const { value, selectionStart } = this.#area;
    const line = value.slice(value.lastIndexOf("\n", selectionStart - 1) + 1, selectionStart);
    const opens = /(\b(then|do|else|repeat)|\bfunction\b[^()]*\([^()]*\)|[{(])\s*$/.test(line);
    this.#insert(`\n${/^\s*/.exec(line)[0]}${opens ? "  " : ""}`);
  }

  #indent(back) {
    const { value, selectionStart: start, selectionEnd: end } = this.#area;
    if (!back && start === end) return this.#insert("  ");
    const from = value.lastIndexOf("\n", start - 1) + 1;
    const to = end > start && value[end - 1] === "\n" ? end - 1 : end;
    const lines = value.slice(from, to).split("\n");
    const text = lines.map((line) => (back ? line.replace(/^ {1,2}/, "") : line && `  ${line}`)).join("\n");
    this.#area.setSelectionRange(from, to);
    this.#insert(text);
    this.#area.setSelectionRange(from, from + text.length);
  }
}
