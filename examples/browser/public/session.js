// The page's side of the worker: one run at a time, and a way to end any of them.

/** Milliseconds that a script has to end by itself, before its worker is ended. */
const PATIENCE = 500;

export class Session {
  #worker;
  #handlers;
  #timer;

  /** `handlers`: a function for each type of message, and `ended` for a worker that had to be given up. */
  constructor(handlers) {
    this.#handlers = handlers;
    this.#start();
  }

  #start() {
    this.#worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.#worker.onmessage = ({ data }) => {
      if (data.type === "done" || data.type === "failed") clearTimeout(this.#timer);
      this.#handlers[data.type]?.(data);
    };
    this.#worker.onerror = (event) => this.#handlers.broken({ text: event.message ?? "the worker did not start" });
  }

  send(type, data) {
    this.#worker.postMessage({ type, ...data });
  }

  /** Ends the run: a script that waits stops at once; one that computes hears nothing of it, and its worker goes. */
  stop() {
    this.send("stop");
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#worker.terminate();
      this.#start();
      this.#handlers.ended();
    }, PATIENCE);
  }
}
