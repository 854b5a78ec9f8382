/** Names of pictures, as people read them. */

/** The file's own name without folder and ending, or the whole where that leaves nothing. */
export function readable(name: string): string {
  const file = name.slice(name.lastIndexOf('/') + 1)
  return file.replace(/\.[a-z0-9]{2,5}$/i, '').replace(/[_\s]+/g, ' ').trim() || name
}
