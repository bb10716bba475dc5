/**
 * What a service says is wrong when it cannot start, for the console: the first error that it prints on its
 * way to being ready. The first is the cause, where the last is "giving up". What it prints once it is ready
 * is never shown, since it may name people.
 */
import { urgentLine } from './service-log.ts';

/** Enough for a path and what is wrong there; the log has the rest. */
const maxLength = 160;

export class Complaint {
  #text: string | undefined;
  #isListening = false;

  /** Undefined as long as the service has not complained since it was last ready. */
  get text(): string | undefined {
    return this.#text;
  }

  /** A new run begins: the complaint of the one before stands until this one is ready or complains itself. */
  listen(): void {
    this.#isListening = true;
  }

  /** The service is ready. */
  forget(): void {
    this.#isListening = false;
    this.#text = undefined;
  }

  /** One line of the service's output. @returns true when it is the complaint */
  hear(line: string): boolean {
    if (!this.#isListening || !urgentLine.test(line)) return false;
    this.#isListening = false;
    this.#text = line.length > maxLength ? `${line.slice(0, maxLength - 1)}…` : line;
    return true;
  }
}
