/** What the browser keeps for us. It may forbid that; the page then works without. */

type Kind = 'local' | 'session'

const area = (kind: Kind) => (kind === 'local' ? localStorage : sessionStorage)

export function recall(key: string, kind: Kind = 'local'): string | null {
  try {
    return area(kind).getItem(key)
  } catch {
    return null
  }
}

/** `null` forgets. */
export function remember(key: string, value: string | null, kind: Kind = 'local'): void {
  try {
    if (value === null) area(kind).removeItem(key)
    else area(kind).setItem(key, value)
  } catch {
    // Full or forbidden: the choice lasts as long as the page.
  }
}
