/** The code examples of a guide, and a `curl` command as a request. */

export function examples(markdown: string, language: string): string[] {
  return [...markdown.matchAll(new RegExp(`\`\`\`${language}\\n([\\s\\S]*?)\`\`\``, 'g'))].map(([, text]) => text ?? '')
}

export interface CurlRequest {
  url: string
  method: string
  headers: [string, string][]
  body: string | undefined
}

/** Reads the options that the guides use, and throws on others. Variables are replaced from `environment`. */
export function readCurl(command: string, environment: Record<string, string>): CurlRequest {
  const words = shellWords(command.replace(/\\\n/g, ' ').trim(), environment)
  if (words.shift() !== 'curl') throw new Error(`not a curl command: ${command}`)
  const request: CurlRequest = { url: '', method: '', headers: [], body: undefined }
  while (words.length > 0) {
    const word = words.shift() ?? ''
    if (word === '-N') continue
    if (word === '-H') {
      const [, name = '', value = ''] = /^([^:]+):\s*(.*)$/.exec(words.shift() ?? '') ?? []
      request.headers.push([name, value])
    } else if (word === '-d') request.body = words.shift()
    else if (word === '-X') request.method = words.shift() ?? ''
    else if (word.startsWith('http')) request.url = word
    else throw new Error(`unknown option ${word} in: ${command}`)
  }
  request.method ||= request.body === undefined ? 'GET' : 'POST'
  return request
}

function shellWords(text: string, environment: Record<string, string>): string[] {
  const put = (word: string) => word.replace(/\$(\w+)/g, (_, name: string) => environment[name] ?? '')
  return [...text.matchAll(/'([^']*)'|"((?:[^"\\]|\\.)*)"|(\S+)/g)].map(
    ([, single, double, bare]) => single ?? put(double ?? bare ?? ''),
  )
}
