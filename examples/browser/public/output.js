// What a run printed, gave, or failed with.

/** Letters that are kept on the page. */
const MOST = 60_000;

export class Output {
  #root;
  #onLine;
  #text = null;
  #length = 0;

  constructor(root, onLine) {
    this.#root = root;
    this.#onLine = onLine;
  }

  clear() {
    this.#root.replaceChildren();
    this.#text = null;
    this.#length = 0;
  }

  #add(node) {
    this.#root.append(node);
    this.#root.scrollTop = this.#root.scrollHeight;
  }

  #block(className, text) {
    const block = document.createElement("pre");
    block.className = className;
    block.textContent = text;
    return block;
  }

  print(text) {
    if (!this.#text) {
      this.#text = this.#block("", "");
      this.#add(this.#text);
    }
    this.#length += text.length;
    if (this.#length > 2 * MOST) {
      const rest = (this.#text.textContent + text).slice(-MOST);
      this.#text.textContent = `… earlier output is gone …\n${rest.slice(rest.indexOf("\n") + 1)}`;
      this.#length = this.#text.textContent.length;
    } else {
      this.#text.append(text);
    }
    this.#root.scrollTop = this.#root.scrollHeight;
  }

  results(values) {
    if (values.length > 0) this.#add(this.#block("result", values.join(", ")));
    else if (!this.#text) this.note("Done. The script printed nothing.");
  }

  note(text) {
    this.#add(this.#block("note", text));
  }

  failure({ kind, message, line, traceback }) {
    const box = document.createElement("div");
    box.className = "failure";
    const title = document.createElement("strong");
    title.textContent = kind;
    const text = document.createElement("pre");
    text.textContent = message;
    box.append(title);
    if (line !== undefined) {
      const link = document.createElement("button");
      link.type = "button";
      link.textContent = `line ${line}`;
      link.addEventListener("click", () => this.#onLine(line));
      box.append(" in ", link);
    }
    box.append(text);
    if (traceback) {
      const details = document.createElement("details");
      const summary = document.createElement("summary");
      summary.textContent = "Traceback";
      details.append(summary, this.#block("", traceback.replace(/^stack traceback:\n/, "")));
      box.append(details);
    }
    this.#add(box);
  }
}
