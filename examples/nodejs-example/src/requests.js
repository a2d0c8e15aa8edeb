// Calls of declared functions: each is a request, and whoever started the run answers it. Until then nothing of the run
// is on any stack.

import { decode, encode } from "./values.js";

const sleep = 0xffffffff; // the function behind `task.sleep`

// How answers begin; the last one is complete. It ends the run, and the script can't catch it.
const results = Buffer.of(0);
const failed = Buffer.of(1, 1, 0, 0, 0, 0); // the message gets the place of the call in front
const waiting = Buffer.of(4);
const interrupted = Buffer.of(2, 6, 0, 0, 0);

export class Requests {
  /** Whether there is a run that its starter answers. */
  started = false;
  /** What it waits for: id -> `{id, name, args}`, in the order of the ids. */
  open = new Map();
  #names = [];
  #answers = new Map(); // id -> bytes
  #said = null;

  /** Gives a function its number. */
  declare(name) {
    return this.#names.push(name) - 1;
  }

  /** What the guest asks on the host channel; the answer, or null for what this host does not offer. */
  handle(request) {
    switch (request[0]) {
      case 0x00: // the answer just given, for which the buffer was too small
        return this.#said;
      case 0x01:
        return (this.#said = this.#call(request, null));
      case 0x09:
        return (this.#said = this.#call(request, request.readUInt32LE(5)));
      case 0x0a: // nobody waits for this one any more
        this.open.delete(request.readUInt32LE(1));
        return Buffer.alloc(0);
      default:
        return null;
    }
  }

  /** `id` is null where the script can't wait; the guest tells it so. */
  #call(request, id) {
    const number = request.readUInt32LE(1);
    const name = number === sleep ? "task.sleep" : this.#names[number];
    if (name === undefined) return null;
    if (!this.started) return Buffer.concat([failed, encode([`'${name}' is answered by whoever starts the run`])]);
    if (id !== null) this.open.set(id, { id, name, args: decode(request.subarray(9)) });
    return waiting;
  }

  answer(id, values) {
    this.#settle(id, Buffer.concat([results, encode(values)]));
  }

  fail(id, message) {
    this.#settle(id, Buffer.concat([failed, encode([message])]));
  }

  #settle(id, answer) {
    if (!this.open.delete(id)) throw new RangeError(`there is no request ${id}`);
    this.#answers.set(id, answer);
  }

  /** Makes an answer that ends the run the only one, if it waits for anything. */
  interrupt() {
    const ids = [...this.open.keys(), ...this.#answers.keys()];
    this.open.clear();
    this.#answers = new Map(ids.slice(0, 1).map((id) => [id, interrupted]));
  }

  /** All answers that were given, as `resume` takes them. */
  encodeAnswers() {
    const parts = [...this.#answers].flatMap(([id, answer]) => {
      const head = Buffer.alloc(8);
      head.writeUInt32LE(id, 0);
      head.writeUInt32LE(answer.length, 4);
      return [head, answer];
    });
    return Buffer.concat(parts);
  }

  /** The run goes on: the guest has the answers. */
  begin() {
    this.started = true;
    this.#answers.clear();
  }

  /** The run has ended: nobody waits for anything any more. */
  end() {
    this.started = false;
    this.open.clear();
  }
}
