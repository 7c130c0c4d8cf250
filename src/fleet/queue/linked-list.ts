/** Doubly linked list with removal in O(1). (A `Map` keeps order too, but iteration steps over deleted entries.) */
export interface Link<Value> {
  readonly value: Value
  before: Link<Value> | undefined
  after: Link<Value> | undefined
}

export class LinkedList<Value> {
  first: Link<Value> | undefined
  last: Link<Value> | undefined
  length = 0

  add(value: Value): Link<Value> {
    const link: Link<Value> = { value, before: this.last, after: undefined }
    if (this.last) this.last.after = link
    else this.first = link
    this.last = link
    this.length += 1
    return link
  }

  /** The link must belong to this list. */
  remove(link: Link<Value> | undefined): void {
    if (!link) return
    if (link.before) link.before.after = link.after
    else this.first = link.after
    if (link.after) link.after.before = link.before
    else this.last = link.before
    this.length -= 1
  }

  *[Symbol.iterator](): Generator<Value> {
    for (let link = this.first; link; link = link.after) yield link.value
  }
}
