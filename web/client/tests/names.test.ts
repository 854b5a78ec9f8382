import { expect, it } from 'vitest'
import { readable } from '../src/names'

it.each([
  ['7/0001.png', '0001'],
  ['n01797886_ruffed_grouse.JPEG', 'n01797886 ruffed grouse'],
  ['a.b.jpg', 'a.b'],
  ['猫/橘_猫.webp', '橘 猫'],
  ['.png', '.png'],
  ['folder/', 'folder/'],
])('%s reads %s', (name, text) => {
  expect(readable(name)).toBe(text)
})
