// A browser for the flows, and what they all check: no errors, no barriers.

import assert from 'node:assert/strict'
import { createRequire } from 'node:module'
import { readFile } from 'node:fs/promises'
import path from 'node:path'
import { chromium } from 'playwright-core'

const require = createRequire(import.meta.url)
const axe = await readFile(require.resolve('axe-core/axe.min.js'), 'utf8')

export const PAGE = process.env.PAGE
const SHOTS = process.env.SHOTS
const WAIT_MS = 60_000 // for machines with other things to do

let browser

export async function start() {
  browser = await chromium.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    args: [
      '--headless=new',
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
      '--use-fake-device-for-media-stream',
      '--use-fake-ui-for-media-stream',
    ],
  })
}

export const stop = () => browser.close()

// A page of its own, with nothing remembered. `allow` is what the console may complain of.
export async function visit(address, act, { allow, base = PAGE, phone, ...options } = {}) {
  const context = await browser.newContext({
    viewport: phone ? { width: 390, height: 844 } : { width: 1440, height: 900 },
    locale: 'en-GB',
    colorScheme: 'light',
    ...(phone && { hasTouch: true, isMobile: true }),
    ...options,
  })
  context.setDefaultTimeout(WAIT_MS)
  const page = await context.newPage()
  const complaints = []
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text())
  })
  page.on('pageerror', (error) => complaints.push(String(error)))
  try {
    await page.goto(base + address)
    await act(page, context)
    assert.deepEqual(complaints.filter((text) => !allow?.test(text)), [])
  } catch (error) {
    if (SHOTS) await page.screenshot({ path: path.join(SHOTS, `failed-${Date.now()}.png`) })
    throw error
  } finally {
    await context.close()
  }
}

// Polls until `probe` answers `wanted`, or something truthy.
export async function until(probe, wanted) {
  const end = Date.now() + WAIT_MS
  for (;;) {
    const found = await probe()
    if (wanted === undefined ? found : found === wanted) return found
    if (Date.now() > end) assert.equal(found, wanted ?? true)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}

export const given = (page, name) => new URL(page.url()).searchParams.get(name)

export const tiles = (page) => page.locator('#pictures li [data-tile]')

export async function results(page) {
  await page.locator('.facts dd').first().waitFor()
  await until(() => page.locator('main[aria-busy=false]').count(), 1)
}

// Pictures in view have come, and nothing moves any more.
export async function settled(page) {
  await until(() =>
    page.evaluate(() =>
      [...document.querySelectorAll('.box')].every((box) => {
        const { top, bottom } = box.getBoundingClientRect()
        return bottom < 0 || top > innerHeight || !box.classList.contains('waiting')
      }),
    ),
  )
  await still(page)
}

const still = (page) =>
  page.evaluate(() =>
    Promise.all(document.getAnimations().map((animation) => animation.finished.catch(() => null))),
  )

export async function shot(page, name) {
  if (!SHOTS) return
  await settled(page)
  await page.screenshot({ path: path.join(SHOTS, `${name}.png`) })
}

// Barriers that axe calls serious or critical; there must be none.
export async function accessible(page) {
  await still(page)
  await page.evaluate(axe)
  const barriers = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ['violations'] })
    return violations
      .filter(({ impact }) => impact === 'serious' || impact === 'critical')
      .map(({ id, help, nodes }) => ({ id, help, where: nodes.map(({ html }) => html) }))
  })
  assert.deepEqual(barriers, [])
}
