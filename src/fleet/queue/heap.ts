/** Binary heap that knows each item's index: removal from the middle and a change of rank cost O(log n). */
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
    const index = this.#places.get(item)
    if (index === undefined) return
    this.#places.delete(item)
    const last = this.#items.pop()
    if (last === undefined || last === item) return
    this.#put(last, index)
    this.moved(last)
  }

  /** Call when the item's rank has changed. */
  moved(item: Item): void {
    const index = this.#places.get(item)
    if (index !== undefined) this.#sink(item, this.#rise(item, index))
  }

  #rise(item: Item, from: number): number {
    let index = from
    while (index > 0) {
      const up = (index - 1) >> 1
      const above = this.#items[up] as Item
      if (!this.#before(item, above)) break
      this.#put(above, index)
      index = up
    }
    this.#put(item, index)
    return index
  }

  #sink(item: Item, from: number): void {
    let index = from
    for (;;) {
      const left = 2 * index + 1
      if (left >= this.#items.length) break
      const right = left + 1
      const second = right < this.#items.length && this.#before(this.#items[right] as Item, this.#items[left] as Item)
      const down = second ? right : left
      const below = this.#items[down] as Item
      if (!this.#before(below, item)) break
      this.#put(below, index)
      index = down
    }
    this.#put(item, index)
  }

  #put(item: Item, index: number): void {
    this.#items[index] = item
    this.#places.set(item, index)
  }
}
