/** Writes PDFs for tests: pages of Helvetica text, and PDFs with a chosen fault. */

/** @param size of each page, in points */
export function pdf(pages: string[][], trailer = '', size = { width: 595, height: 842 }): Buffer {
  const objects: string[] = [
    '<</Type/Catalog/Pages 2 0 R>>',
    `<</Type/Pages/Count ${pages.length}/Kids[${pages.map((_, index) => `${4 + 2 * index} 0 R`).join(' ')}]>>`,
    '<</Type/Font/Subtype/Type1/BaseFont/Helvetica/Encoding/WinAnsiEncoding>>',
  ]
  for (const [index, lines] of pages.entries()) {
    const shown = lines.map((line) => `(${line.replace(/[\\()]/g, '\\$&')}) Tj T*`).join(' ')
    const stream = `BT /F 14 Tf 20 TL 50 780 Td ${shown} ET`
    objects.push(
      `<</Type/Page/Parent 2 0 R/MediaBox[0 0 ${size.width} ${size.height}]/Resources<</Font<</F 3 0 R>>>>/Contents ${5 + 2 * index} 0 R>>`,
      `<</Length ${stream.length}>>stream\n${stream}\nendstream`,
    )
  }
  return written(objects, trailer)
}

/** A PDF that needs a password other than the empty one. */
export function encryptedPdf(): Buffer {
  const hash = '0123456789abcdef'.repeat(4)
  const rule = `/Encrypt<</Filter/Standard/V 1/R 2/O<${hash}>/U<${hash}>/P -4>>/ID[<00><00>]`
  return pdf([['secret']], rule)
}

/** A PDF whose forms each draw the next form four times, `depth` levels deep, so the work grows exponentially. */
export function endlessPdf(depth: number): Buffer {
  const form = (index: number) => {
    const inner = `${6 + index} 0 R`
    const draws = index < depth ? '/X Do /X Do /X Do /X Do' : '0 0 500 500 re f'
    const resources = index < depth ? `/Resources<</XObject<</X ${inner}>>>>` : ''
    return `<</Type/XObject/Subtype/Form/BBox[0 0 600 900]${resources}/Length ${draws.length}>>stream\n${draws}\nendstream`
  }
  return written([
    '<</Type/Catalog/Pages 2 0 R>>',
    '<</Type/Pages/Count 1/Kids[3 0 R]>>',
    '<</Type/Page/Parent 2 0 R/MediaBox[0 0 595 842]/Resources<</XObject<</X 5 0 R>>>>/Contents 4 0 R>>',
    '<</Length 5>>stream\n/X Do\nendstream',
    ...Array.from({ length: depth + 1 }, (_, index) => form(index)),
  ])
}

function written(objects: string[], trailer = ''): Buffer {
  let text = '%PDF-1.7\n'
  const offsets: number[] = []
  for (const [index, object] of objects.entries()) {
    offsets.push(text.length)
    text += `${index + 1} 0 obj\n${object}\nendobj\n`
  }
  const start = text.length
  const rows = offsets.map((offset) => `${String(offset).padStart(10, '0')} 00000 n \n`).join('')
  text += `xref\n0 ${objects.length + 1}\n0000000000 65535 f \n${rows}`
  text += `trailer<</Size ${objects.length + 1}/Root 1 0 R${trailer}>>\nstartxref\n${start}\n%%EOF\n`
  return Buffer.from(text, 'latin1')
}
