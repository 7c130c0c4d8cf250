/** A binary heap that knows where each item is: what leaves from the middle, or changes its rank, costs O(log n). */
export class Heap<Item> {
  readonly #before: (a: Item, b: Item) => boolean
  readonly #items: Item[] = []
  readonly #places = new Map<Item, number>()

  constructor(before: (a: Item, b: Item) => boolean) {
    this.#before = before
  }

  first(): Item | undefined {
    return this.#items[0]
  }

  has(item: Item): boolean {
    return this.#places.has(item)
  }

  add(item: Item): void {
    this.#put(item, this.#items.length)
    this.#rise(item, this.#items.length - 1)
  }

  remove(item: Item): void {
    const endpoint = this.#places.get(item)
    if (endpoint === undefined) return
    this.#places.delete(item)
    const last = this.#items.pop()
    if (last === undefined || last === item) return
    this.#put(last, endpoint)
    this.moved(last)
  }

  /** The item's rank has changed. */
  moved(item: Item): void {
    const endpoint = this.#places.get(item)
    if (endpoint !== undefined) this.#sink(item, this.#rise(item, endpoint))
  }

  #rise(item: Item, from: number): number {
    let endpoint = from
    while (endpoint > 0) {
      const up = (endpoint - 1) >> 1
      const above = this.#items[up] as Item
      if (!this.#before(item, above)) break
      this.#put(above, endpoint)
      endpoint = up
    }
    this.#put(item, endpoint)
    return endpoint
  }

  #sink(item: Item, from: number): void {
    let endpoint = from
    for (;;) {
      const left = 2 * endpoint + 1
      if (left >= this.#items.length) break
      const right = left + 1
      const second = right < this.#items.length && this.#before(this.#items[right] as Item, this.#items[left] as Item)
      const down = second ? right : left
      const below = this.#items[down] as Item
      if (!this.#before(below, item)) break
      this.#put(below, endpoint)
      endpoint = down
    }
    this.#put(item, endpoint)
  }

  #put(item: Item, endpoint: number): void {
    this.#items[endpoint] = item
    this.#places.set(item, endpoint)
  }
}
