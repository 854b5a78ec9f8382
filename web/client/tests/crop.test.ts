import { describe, expect, it } from 'vitest'
import { isWhole, LEAST, moved, resized, spanned, WHOLE } from '../src/crop'

/** Whole numbers of hundredths, so that the sums are those of the eye. */
const rounded = (crop: typeof WHOLE) =>
  Object.values(crop).map((value) => Math.round(100 * value))

describe('a part of a picture', () => {
  const crop = { x: 0.2, y: 0.3, width: 0.4, height: 0.2 }

  it.each([
    [{ x: 0.2, y: 0.3 }, { x: 0.6, y: 0.5 }],
    [{ x: 0.6, y: 0.5 }, { x: 0.2, y: 0.3 }],
    [{ x: 0.6, y: 0.3 }, { x: 0.2, y: 0.5 }],
  ])('spans two corners, whichever they are', (from, to) => {
    expect(rounded(spanned(from, to))).toEqual([20, 30, 40, 20])
  })

  it('ends at the picture’s edge', () => {
    expect(rounded(spanned({ x: 0.9, y: 0.9 }, { x: 3, y: -2 }))).toEqual([90, 0, 10, 90])
    expect(rounded(moved(crop, 5, -5))).toEqual([60, 0, 40, 20])
    expect(rounded(resized(crop, 5, 5, { x: 1, y: 1 }))).toEqual([20, 30, 80, 70])
    expect(rounded(resized(crop, -5, -5, { x: -1, y: -1 }))).toEqual([0, 0, 60, 50])
  })

  it('never vanishes', () => {
    const least = Math.round(100 * LEAST)
    expect(rounded(spanned({ x: 1, y: 1 }, { x: 1, y: 1 }))).toEqual([95, 95, least, least])
    expect(rounded(resized(crop, -5, -5, { x: 1, y: 1 }))).toEqual([20, 30, least, least])
    expect(rounded(resized(crop, 5, 5, { x: -1, y: -1 }))).toEqual([55, 45, least, least])
  })

  it('keeps the sides that are not pulled', () => {
    expect(rounded(resized(crop, 0.1, 0.1, { x: 0, y: 1 }))).toEqual([20, 30, 40, 30])
    expect(rounded(resized(crop, 0.1, 0.1, { x: -1, y: 0 }))).toEqual([30, 30, 30, 20])
  })

  it('is the whole if hardly anything is left out', () => {
    expect(isWhole(WHOLE)).toBe(true)
    expect(isWhole({ ...WHOLE, width: 0.99 })).toBe(true)
    expect(isWhole({ ...WHOLE, width: 0.9 })).toBe(false)
  })
})
