/** Names of pictures, as people read them, and where the pictures are. */

import type { Answer } from './types'

/** The file's own name without folder and ending, or the whole where that leaves nothing. */
export function readable(name: string): string {
  const file = name.slice(name.lastIndexOf('/') + 1)
  return file.replace(/\.[a-z0-9]{2,5}$/i, '').replace(/[_\s]+/g, ' ').trim() || name
}

/** The query's picture itself; of an upload there is no larger one than that which is shown. */
export const fullSize = ({ id, thumbnail }: Answer['query']): string =>
  typeof id === 'number' ? `/images/${id}` : thumbnail
