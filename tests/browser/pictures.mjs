// Pictures of the page for docs/images: node pictures.mjs http://localhost:8000 NAME FOLDER
// NAME is that of the picture that is searched with. The library is that of `make demo-photos`.

import path from 'node:path'
import { results, settled, start, stop, tiles, visit } from './browser.mjs'

const [base, name, folder] = process.argv.slice(2)

const json = async (address, body) => {
  const post = { method: 'POST', headers: { 'Content-Type': 'application/json' } }
  const options = body && { ...post, body: JSON.stringify(body) }
  return (await fetch(`${base}/api/v1${address}`, options)).json()
}

const { items } = await json('/images?size=500')
const { id } = items.find((item) => item.name === name)
const { hits } = await json('/search', { id })
const [, second, third, fourth] = hits.map((hit) => hit.id)

const chinese = { locale: 'zh-CN', colorScheme: 'dark' }
const pages = {
  web_gallery: ['/', {}],
  web_results: [`/?id=${id}`, {}],
  web_refined_dark_zh: [`/?id=${id}&liked=${third}&disliked=${fourth}`, chinese],
  web_why: [`/?id=${id}&why=${second}`, {}],
  web_phone: [`/?id=${id}`, { phone: true }],
}

await start()
for (const [file, [address, options]] of Object.entries(pages)) {
  const act = async (page) => {
    await tiles(page).first().waitFor()
    if (address !== '/') await results(page)
    if (address.includes('why')) await page.locator('.compare').waitFor()
    await settled(page)
    await page.screenshot({ path: path.join(folder, `${file}.png`) })
  }
  await visit(address, act, { base, ...options })
}
await stop()
