// The tree of kept tables.

const element = (name, className, ...children) => {
  const out = document.createElement(name);
  out.className = className;
  out.append(...children);
  return out;
};

/** Longer text is cut, and whole when it is opened; longer keys are cut. */
const LONG_TEXT = 120;
const LONG_KEY = 60;
const cut = (text, most) => (text.length > most ? `${text.slice(0, most)}…` : text);

export class HomeView {
  #root;
  /** Paths of tables that are closed; the first level begins open. */
  #open = new Map();
  /** What each path showed last. */
  #shown = null;

  constructor(root) {
    this.#root = root;
  }

  show(tree) {
    const before = this.#shown;
    this.#shown = new Map();
    const { scrollTop } = this.#root;
    if (tree.count === 0) {
      this.#root.replaceChildren(element("p", "empty", "What a script puts into _home stays here, over runs and reloads."));
    } else {
      this.#root.replaceChildren(this.#list(tree, "", before));
    }
    this.#root.scrollTop = scrollTop;
  }

  #list(table, path, before) {
    const items = table.entries.map((node) => this.#item(node, `${path}\n${node.key}`, before, path === ""));
    if (table.more > 0) items.push(element("li", "leaf count", `… ${table.more.toLocaleString("en")} more`));
    return element("ul", "", ...items);
  }

  #item(node, path, before, isTop) {
    const key = element("span", node.isText ? "key text" : "key", cut(node.key, LONG_KEY));
    if (node.key.length > LONG_KEY) key.title = node.key;
    const isTable = node.entries !== undefined;
    const text = isTable ? "table" : node.text;
    this.#shown.set(path, text);
    const changed = before !== null && before.get(path) !== text;
    if (!isTable && text.length > LONG_TEXT) {
      const start = element("span", `value ${node.kind} start`, cut(text, LONG_TEXT));
      const summary = element("summary", changed ? "changed" : "", key, " = ", start);
      return this.#opening(summary, element("div", `leaf value ${node.kind}`, text), path, false);
    }
    if (!isTable) {
      const line = element("div", changed ? "leaf changed" : "leaf", key, " = ", element("span", `value ${node.kind}`, node.text));
      return element("li", "", line);
    }
    const count = `${node.count.toLocaleString("en")} ${node.count === 1 ? "entry" : "entries"}`;
    const summary = element("summary", changed ? "changed" : "", key, " ", element("span", "count", count));
    return this.#opening(summary, this.#list(node, path, before), path, isTop && node.count <= 20);
  }

  #opening(summary, content, path, isOpen) {
    const details = element("details", "", summary, content);
    details.open = this.#open.get(path) ?? isOpen;
    details.addEventListener("toggle", () => this.#open.set(path, details.open));
    return element("li", "", details);
  }
}
