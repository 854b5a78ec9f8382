import { expect, it } from 'vitest'
import { fullSize, readable } from '../src/names'

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

it('leads to the picture itself', () => {
  const shown = { name: '', code: '', thumbnail: '/thumbnails/0.jpg' }
  expect(fullSize({ ...shown, kind: 'id', id: 0 })).toBe('/images/0')
  const upload = { ...shown, kind: 'upload', id: null, thumbnail: '/uploads/x.jpg' } as const
  expect(fullSize(upload)).toBe('/uploads/x.jpg')
})
