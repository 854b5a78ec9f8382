/** Rectangles in fractions of a picture; all stay inside of it and never get too small. */

import type { Crop } from './types'

export const LEAST = 0.05

export const WHOLE: Crop = { x: 0, y: 0, width: 1, height: 1 }

export interface Point {
  x: number
  y: number
}

/** Which sides follow the pointer: -1 left or top, 1 right or bottom, 0 neither. */
export interface Sides {
  x: -1 | 0 | 1
  y: -1 | 0 | 1
}

const clamp = (value: number, low: number, high: number) => Math.min(Math.max(value, low), high)

export const inside = ({ x, y }: Point): Point => ({ x: clamp(x, 0, 1), y: clamp(y, 0, 1) })

/** From one corner to the opposite one. */
export function spanned(from: Point, to: Point): Crop {
  const [a, b] = [inside(from), inside(to)]
  const width = Math.max(Math.abs(b.x - a.x), LEAST)
  const height = Math.max(Math.abs(b.y - a.y), LEAST)
  return {
    x: clamp(Math.min(a.x, b.x), 0, 1 - width),
    y: clamp(Math.min(a.y, b.y), 0, 1 - height),
    width,
    height,
  }
}

export const moved = (crop: Crop, dx: number, dy: number): Crop => ({
  ...crop,
  x: clamp(crop.x + dx, 0, 1 - crop.width),
  y: clamp(crop.y + dy, 0, 1 - crop.height),
})

function stretched(start: number, size: number, by: number, side: -1 | 0 | 1): [number, number] {
  if (side === 1) return [start, clamp(size + by, LEAST, 1 - start)]
  if (side === 0) return [start, size]
  const moved = clamp(start + by, 0, start + size - LEAST)
  return [moved, start + size - moved]
}

export function resized(crop: Crop, dx: number, dy: number, sides: Sides): Crop {
  const [x, width] = stretched(crop.x, crop.width, dx, sides.x)
  const [y, height] = stretched(crop.y, crop.height, dy, sides.y)
  return { x, y, width, height }
}

/** Almost everything is everything: a hand does not hit the very edge. */
export const isWhole = (crop: Crop): boolean => crop.width > 0.985 && crop.height > 0.985
