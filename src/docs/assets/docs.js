/** Adds copy buttons, tabs, search and the current heading. The documentation also works without this script. */
for (const block of document.querySelectorAll('.code')) addCopyButton(block)
for (const group of document.querySelectorAll('.tabs')) makeTabs(group)
markCurrentHeading()
openLinkedRoute()
addEventListener('hashchange', openLinkedRoute)
startSearch(document.querySelector('.search'))

function addCopyButton(block) {
  const button = document.createElement('button')
  button.type = 'button'
  button.className = 'copy'
  button.textContent = 'Copy'
  button.setAttribute('aria-label', 'Copy the code')
  button.addEventListener('click', async () => {
    button.textContent = (await copy(block.querySelector('pre'))) ? 'Copied' : 'Press Ctrl+C'
    setTimeout(() => {
      button.textContent = 'Copy'
    }, 2_000)
  })
  block.append(button)
}

/** Without a secure context there is no clipboard; then the text is selected, so that the reader can copy it. */
async function copy(pre) {
  try {
    await navigator.clipboard.writeText(pre.textContent.replace(/\n$/, ''))
    return true
  } catch {
    getSelection().selectAllChildren(pre)
    return false
  }
}

function makeTabs(group) {
  const panels = [...group.querySelectorAll(':scope > .code')]
  const list = document.createElement('div')
  list.className = 'tablist'
  list.setAttribute('role', 'tablist')
  list.setAttribute('aria-label', 'Language')
  const tabs = panels.map((panel) => {
    const tab = document.createElement('button')
    tab.type = 'button'
    tab.textContent = panel.dataset.label
    tab.setAttribute('role', 'tab')
    panel.setAttribute('role', 'tabpanel')
    panel.setAttribute('aria-label', panel.dataset.label)
    tab.addEventListener('click', () => chooseLanguage(panel.dataset.label, tab))
    list.append(tab)
    return tab
  })
  list.addEventListener('keydown', ({ key }) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[key]
    if (!step) return
    const next = tabs[(tabs.indexOf(document.activeElement) + step + tabs.length) % tabs.length]
    next.focus()
    next.click()
  })
  group.prepend(list)
  group.dataset.ready = ''
  group.show = (label) => {
    const found = panels.findIndex((panel) => panel.dataset.label === label)
    const shown = found < 0 ? 0 : found
    panels.forEach((panel, index) => {
      panel.hidden = index !== shown
      tabs[index].setAttribute('aria-selected', String(index === shown))
      tabs[index].tabIndex = index === shown ? 0 : -1
    })
  }
  group.show(stored())
}

/** All tab groups of the page follow. The clicked tab keeps its position on the screen. */
function chooseLanguage(label, tab) {
  const before = tab.getBoundingClientRect().top
  for (const group of document.querySelectorAll('.tabs')) group.show(label)
  scrollBy({ top: tab.getBoundingClientRect().top - before, behavior: 'instant' })
  try {
    localStorage.setItem('language', label)
  } catch {
    // Storage may be disabled; then the choice applies to this page only.
  }
}

function stored() {
  try {
    return localStorage.getItem('language')
  } catch {
    return null
  }
}

function markCurrentHeading() {
  const links = new Map([...document.querySelectorAll('.toc a')].map((link) => [decodeURIComponent(link.hash), link]))
  const headings = [...document.querySelectorAll('main h2[id], main h3[id]')].filter(({ id }) => links.has(`#${id}`))
  if (headings.length === 0) return
  const mark = () => {
    const passed = headings.filter((heading) => heading.getBoundingClientRect().top < 120)
    const current = (passed.at(-1) ?? headings[0]).id
    for (const [hash, link] of links) {
      if (hash === `#${current}`) link.setAttribute('aria-current', 'true')
      else link.removeAttribute('aria-current')
    }
  }
  addEventListener('scroll', mark, { passive: true })
  mark()
}

/** Opens the route of the reference that the link names. */
function openLinkedRoute() {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)))
  if (target instanceof HTMLDetailsElement) target.open = true
}

function startSearch(form) {
  if (!form) return
  const input = form.querySelector('input')
  const list = form.querySelector('.results')
  let rows
  let chosen = -1
  form.hidden = false
  const load = async () => {
    rows ??= fetch(form.dataset.index).then((response) => response.json())
    return rows.catch(() => {
      rows = undefined
      return []
    })
  }
  const close = () => {
    list.hidden = true
    chosen = -1
    input.setAttribute('aria-expanded', 'false')
    input.removeAttribute('aria-activedescendant')
  }
  const choose = (index) => {
    const items = [...list.querySelectorAll('[role=option]')]
    if (items.length === 0) return
    chosen = (index + items.length) % items.length
    items.forEach((item, position) => {
      item.setAttribute('aria-selected', String(position === chosen))
    })
    input.setAttribute('aria-activedescendant', items[chosen].id)
    items[chosen].scrollIntoView({ block: 'nearest' })
  }
  const show = async () => {
    const words = wordsOf(input.value)
    if (words.length === 0) return close()
    const found = find(await load(), words)
    if (wordsOf(input.value).join() !== words.join()) return
    list.replaceChildren(...(found.length > 0 ? found.map((row, index) => item(row, words, index)) : [nothingFound()]))
    list.hidden = false
    input.setAttribute('aria-expanded', 'true')
    choose(0)
  }
  input.addEventListener('focus', load)
  input.addEventListener('input', show)
  input.addEventListener('keydown', (event) => {
    if (event.key === 'ArrowDown') choose(chosen + 1)
    else if (event.key === 'ArrowUp') choose(chosen - 1)
    else if (event.key === 'Escape') {
      input.value = ''
      close()
    } else return
    event.preventDefault()
  })
  form.addEventListener('submit', (event) => {
    event.preventDefault()
    list.querySelector('[aria-selected=true] a')?.click()
  })
  list.addEventListener('click', close)
  document.addEventListener('click', (event) => {
    if (!form.contains(event.target)) close()
  })
  document.addEventListener('keydown', (event) => {
    if (event.key !== '/' || event.target.closest('input, textarea')) return
    event.preventDefault()
    input.focus()
  })
}

function wordsOf(text) {
  return text.toLowerCase().match(/[\p{L}\p{N}_/.-]+/gu) ?? []
}

/** Every word must occur. Headings weigh more than text, and complete words more than parts. */
function find(rows, words) {
  const score = ({ page, heading, text }) => {
    let sum = 0
    for (const word of words) {
      const points =
        8 * occurs(heading.toLowerCase(), word) +
        4 * occurs(page.toLowerCase(), word) +
        occurs(text.toLowerCase(), word)
      if (points === 0) return 0
      sum += points
    }
    return sum
  }
  return rows
    .map((row) => ({ row, points: score(row) }))
    .filter(({ points }) => points > 0)
    .sort((one, other) => other.points - one.points)
    .slice(0, 12)
    .map(({ row }) => row)
}

function occurs(text, word) {
  const at = text.indexOf(word)
  if (at < 0) return 0
  const inner = /[\p{L}\p{N}]/u
  return at > 0 && inner.test(text[at - 1]) ? 1 : inner.test(text[at + word.length] ?? ' ') ? 2 : 3
}

function item(row, words, index) {
  const option = document.createElement('li')
  option.id = `result-${index}`
  option.setAttribute('role', 'option')
  const link = document.createElement('a')
  link.href = row.url
  link.tabIndex = -1
  const title = document.createElement('b')
  title.textContent = row.heading === row.page ? row.page : `${row.page}: ${row.heading}`
  const text = document.createElement('span')
  text.append(...excerpt(row.text, words))
  link.append(title, text)
  option.append(link)
  return option
}

function excerpt(text, words) {
  const first = Math.min(...words.map((word) => text.toLowerCase().indexOf(word)).filter((at) => at >= 0), Infinity)
  const from = first === Infinity ? 0 : Math.max(0, text.lastIndexOf(' ', Math.max(0, first - 40)) + 1)
  const piece = `${from > 0 ? '… ' : ''}${text.slice(from, from + 150)}${text.length > from + 150 ? ' …' : ''}`
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  return piece.split(new RegExp(`(${escaped.join('|')})`, 'i')).map((part, index) => {
    if (index % 2 === 0) return part
    const mark = document.createElement('mark')
    mark.textContent = part
    return mark
  })
}

function nothingFound() {
  const entry = document.createElement('li')
  entry.className = 'none'
  entry.textContent = 'Nothing found.'
  return entry
}
