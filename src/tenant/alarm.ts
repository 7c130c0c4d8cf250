/** The only alarm of a Durable Object: each job asks for a time, and the earliest is set. */
export class Alarm {
  readonly #set: (time: number) => void
  #time: number | null = null

  /** @param set writes the time to the object's storage. */
  constructor(set: (time: number) => void) {
    this.#set = set
  }

  /** The time that is set, in Unix milliseconds. */
  get time(): number | null {
    return this.#time
  }

  /** Sets the alarm, unless an earlier one is set. */
  wakeAt(time: number): void {
    if (this.#time !== null && this.#time <= time) return
    this.#time = time
    this.#set(time)
  }

  /** Call at the start of the alarm handler, which sets the next alarm. */
  fired(): void {
    this.#time = null
  }

  /** Takes over the alarm that is in storage, when the object starts and after a rollback. */
  restore(time: number | null): void {
    this.#time = time
  }
}
