// The tree of kept tables.

const element = (name, className, ...children) => {
  const out = document.createElement(name);
  out.className = className;
  out.append(...children);
  return out;
};

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
    const key = element("span", node.isText ? "key text" : "key", node.key);
    const isTable = node.entries !== undefined;
    const text = isTable ? "table" : node.text;
    this.#shown.set(path, text);
    const changed = before !== null && before.get(path) !== text;
    if (!isTable) {
      const line = element("div", changed ? "leaf changed" : "leaf", key, " = ", element("span", `value ${node.kind}`, node.text));
      return element("li", "", line);
    }
    const count = `${node.count.toLocaleString("en")} ${node.count === 1 ? "entry" : "entries"}`;
    const summary = element("summary", changed ? "changed" : "", key, " ", element("span", "count", count));
    const details = element("details", "", summary, this.#list(node, path, before));
    details.open = this.#open.get(path) ?? (isTop && node.count <= 20);
    details.addEventListener("toggle", () => this.#open.set(path, details.open));
    return element("li", "", details);
  }
}
