// Where external tables live: id -> key text -> encoded value. One map can serve several instances of the guest, one
// after another, and a real program would keep it in a file or a database.

export class Tables {
  #tables = new Map();

  set(id, key, value) {
    let table = this.#tables.get(id);
    if (!table) this.#tables.set(id, (table = new Map()));
    table.set(key, value);
  }

  /** The value's bytes; undefined when there is no such table or key. */
  get(id, key) {
    return this.#tables.get(id)?.get(key);
  }

  /** Whether there is such a table. */
  delete(id, key) {
    this.#tables.get(id)?.delete(key);
    return this.#tables.has(id);
  }

  size(id) {
    return this.#tables.get(id)?.size ?? 0;
  }

  /** All keys; undefined when there is no such table. */
  keys(id) {
    const table = this.#tables.get(id);
    return table && [...table.keys()];
  }
}
