// Asks again and again: soon while something runs, seldom when nothing does, seldom when nobody looks.

const SOON_MS = 2000;
const LATER_MS = 15_000;
const HIDDEN_MS = 30_000;
const TROUBLE_MS = 5000;

/** Calls `look` (given a signal) until `stop`. What it returns says whether something runs. `now` looks at once. */
export class Poll {
  constructor(look, onproblem) {
    this.look = look;
    this.onproblem = onproblem;
    this.stopped = false;
    this.abort = new AbortController();
    this.seen = () => document.visibilityState === "visible" && this.now();
    document.addEventListener("visibilitychange", this.seen);
    this.now();
  }

  stop() {
    this.stopped = true;
    this.abort.abort();
    clearTimeout(this.timer);
    document.removeEventListener("visibilitychange", this.seen);
  }

  /** Looks as soon as possible; resolves when that has been done. */
  now() {
    clearTimeout(this.timer);
    if (this.running) {
      this.again = true;
      return this.running;
    }
    this.running = this.#once().finally(() => {
      this.running = null;
    });
    return this.running;
  }

  async #once() {
    let pause = LATER_MS;
    do {
      this.again = false;
      try {
        if (await this.look(this.abort.signal)) pause = SOON_MS;
        else pause = LATER_MS;
      } catch (error) {
        if (this.stopped || error.name === "AbortError") return;
        this.onproblem(error);
        pause = TROUBLE_MS;
      }
    } while (this.again && !this.stopped);
    if (this.stopped) return;
    if (document.visibilityState === "hidden") pause = Math.max(pause, HIDDEN_MS);
    this.timer = setTimeout(() => this.now(), pause);
  }
}
