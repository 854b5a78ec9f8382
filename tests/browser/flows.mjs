// What a person does with the page, from the gallery to the last dialog.

import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { after, before, test } from 'node:test'
import {
  accessible,
  given,
  PAGE,
  results,
  shot,
  start,
  stop,
  tiles,
  until,
  visit,
} from './browser.mjs'

const PICTURES = 378
const REFUSED = /Failed to load resource/ // what browsers say of every status above 399

before(start)
after(stop)

const picture = async (id) => Buffer.from(await (await fetch(`${PAGE}/images/${id}`)).arrayBuffer())
const file = async (id, name = 'mine.png') => ({
  name,
  mimeType: 'image/png',
  buffer: await picture(id),
})
const chooser = (page) => page.locator('input[type=file]:not([capture])')
const dialog = (page) => page.locator('dialog[open]')
const button = (page, name) => page.getByRole('button', { name, exact: true })
const names = (page) =>
  page.locator('#pictures li').evaluateAll((all) => all.map((li) => li.querySelector('a')?.title))
const ask = async (what, body) => {
  const response = await fetch(`${PAGE}/api/v1/${what}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  })
  return response.json()
}
const search = (body) => ask('search', body)

test('the gallery holds every picture, and only those in view exist', () =>
  visit('/', async (page) => {
    await tiles(page).first().waitFor()
    await page.getByText(`${PICTURES} pictures`).waitFor()
    const count = await page.locator('#pictures li').count()
    assert.ok(count >= 30 && count < PICTURES / 2, `${count} tiles`)
    await shot(page, 'gallery')
    await accessible(page)
    await page.evaluate(() => scrollTo(0, document.body.scrollHeight))
    await page.locator(`#pictures li[data-index="${PICTURES - 1}"] [data-tile]`).waitFor()
  }))

test('the gallery shows one label, and another order', () =>
  visit('/', async (page) => {
    await tiles(page).first().waitFor()
    const before = await names(page)
    await button(page, 'Shuffle').click()
    await until(() => given(page, 'seed'))
    await until(async () => (await names(page)).join() !== before.join())
    await button(page, 'All labels').click()
    await page.getByLabel('Find a label').fill('ri')
    await shot(page, 'labels')
    assert.equal(await page.locator('.panel li').count(), 3) // rings, stripes, triangle
    await page.getByLabel('rings').click()
    await page.getByText('63 pictures').waitFor()
    await until(async () => (await names(page)).every((name) => name?.startsWith('rings')))
    await page.goBack()
    await page.getByText(`${PICTURES} pictures`).waitFor()
  }))

test('a click finds similar pictures; back and forward keep the place', () =>
  visit('/', async (page) => {
    await tiles(page).first().waitFor()
    await page.mouse.move(700, 500)
    await page.evaluate(() => scrollTo(0, 1400))
    await until(() => page.locator('#pictures li[data-index="80"] [data-tile]').count())
    await page.locator('#pictures li[data-index="80"] [data-tile]').click()
    await results(page)
    const id = Number(given(page, 'id'))
    const answer = await search({ id })
    const shown = await names(page)
    assert.deepEqual(shown, answer.hits.slice(0, shown.length).map(({ name }) => name))
    assert.equal(await page.locator('#pictures ul').getAttribute('aria-label'), 'Results')
    const full = await page.locator('.band > a').getAttribute('href')
    assert.equal(full, `/images/${id}`)
    assert.equal((await fetch(PAGE + full)).headers.get('Content-Type'), 'image/png')
    const facts = (await page.locator('.facts').innerText()).replace(/\s+/g, ' ')
    const { radius, buckets, candidates } = answer.certificate
    assert.match(
      facts,
      new RegExp(`Radius ${radius} bits? Buckets ${buckets} Candidates ${candidates} of ${PICTURES}`),
    )
    assert.match(await page.locator('main > [role=status]').innerText(), /^100 pictures found in /)
    const tile = await page.locator('#pictures li').nth(1).innerText()
    assert.ok(tile.includes(`${answer.hits[1].hamming} bit`), tile)
    assert.ok(tile.includes(answer.hits[1].label_name), tile)
    await shot(page, 'results')
    await accessible(page)
    await page.goBack()
    await until(() => page.evaluate(() => scrollY), 1400)
    await page.goForward()
    await results(page)
    assert.equal(Number(given(page, 'id')), id)
  }))

test('a random picture, by button and by key', () =>
  visit('/', async (page) => {
    await button(page, 'Random picture').click()
    await results(page)
    const first = page.url()
    await page.locator('body').press('r')
    await until(() => page.url() !== first)
    await results(page)
  }))

test('an uploaded picture is searched with', () =>
  visit('/', async (page) => {
    await button(page, 'Upload a picture').waitFor()
    await chooser(page).setInputFiles(await file(7))
    await dialog(page).waitFor()
    await shot(page, 'crop')
    await accessible(page)
    await button(page, 'Search with all of it').click()
    await results(page)
    assert.ok(given(page, 'upload'))
    assert.equal(given(page, 'crop'), null)
    const own = (await search({ id: 7 })).hits[0].name
    assert.equal((await names(page))[0], own)
    assert.equal(await page.locator('h1').innerText(), 'Pictures like yours')
    await shot(page, 'upload')
  }))

test('a part is chosen by pointer, moved, resized, and taken back', () =>
  visit('/', async (page) => {
    await chooser(page).setInputFiles(await file(7))
    const stage = page.locator('.stage')
    await stage.waitFor()
    await until(async () => (await stage.boundingBox()).height > 90)
    const { x, y, width, height } = await stage.boundingBox()
    const at = (right, down) => [x + right * width, y + down * height]
    const drag = async (from, to) => {
      await page.mouse.move(...at(...from))
      await page.mouse.down()
      await page.mouse.move(...at(...to), { steps: 4 })
      await page.mouse.up()
    }
    await drag([0.1, 0.1], [0.6, 0.7])
    await drag([0.35, 0.3], [0.45, 0.4]) // by its middle: it moves
    await drag([0.7, 0.8], [0.8, 0.9]) // by its corner: it grows
    await page.locator('.area').press('ArrowLeft')
    await page.locator('.area').press('Shift+ArrowUp')
    await button(page, 'Search with this part').click()
    await results(page)
    const crop = given(page, 'crop').split(',').map(Number)
    const expected = [0.18, 0.2, 0.6, 0.68]
    expected.forEach((value, i) => assert.ok(Math.abs(value - crop[i]) < 0.02, String(crop)))
    await button(page, 'Search with a part').click()
    await page.locator('.area').waitFor()
    assert.match(await page.locator('.area').getAttribute('aria-label'), /60 % by 68 %/)
    await page.keyboard.press('Escape')
    await until(() => dialog(page).count(), 0)
    await button(page, 'Search with all of it').click()
    await until(() => given(page, 'crop'), null)
  }))

test('a part of a picture of the library', () =>
  visit('/?id=9', async (page) => {
    await results(page)
    await button(page, 'Search with a part').click()
    await page.locator('.area').focus()
    for (let i = 0; i < 10; i++) await page.keyboard.press('Shift+ArrowUp')
    await button(page, 'Search with this part').click()
    await until(() => given(page, 'upload'))
    await results(page)
    assert.equal(given(page, 'crop'), '0,0,1,0.8')
  }))

// Events as the browser makes them, with a file or text in them.
const transfer = (page, kind, { bytes, text }) =>
  page.evaluate(
    ([kind, bytes, text]) => {
      const data = new DataTransfer()
      if (bytes) data.items.add(new File([new Uint8Array(bytes)], 'x.png', { type: 'image/png' }))
      if (text) data.setData('text/plain', text)
      const options = { bubbles: true, cancelable: true }
      const event =
        kind === 'paste'
          ? new ClipboardEvent('paste', { ...options, clipboardData: data })
          : new DragEvent(kind, { ...options, dataTransfer: data })
      document.body.dispatchEvent(event)
    },
    [kind, bytes, text],
  )

test('a pasted picture, and a pasted address', () =>
  visit('/', async (page) => {
    await tiles(page).first().waitFor()
    await transfer(page, 'paste', { bytes: [...(await picture(3))] })
    await button(page, 'Search with all of it').click()
    await results(page)
    assert.ok(given(page, 'upload'))
    await transfer(page, 'paste', { text: `${PAGE}/images/5` })
    await until(() => given(page, 'url'), `${PAGE}/images/5`)
    await results(page)
    assert.equal((await names(page))[0], (await search({ id: 5 })).hits[0].name)
  }))

test('a picture that is dropped', () =>
  visit('/', async (page) => {
    await tiles(page).first().waitFor()
    const dropped = { bytes: [...(await picture(3))] }
    await transfer(page, 'dragover', dropped)
    await page.getByText('Drop the picture').waitFor()
    await transfer(page, 'drop', dropped)
    await until(() => page.getByText('Drop the picture').count(), 0)
    await button(page, 'Search with all of it').click()
    await results(page)
  }))

test('a picture from the camera', () =>
  visit('/', async (page) => {
    await button(page, 'Take a picture').click()
    await until(() => page.evaluate(() => document.querySelector('video')?.videoWidth))
    await accessible(page)
    await button(page, 'Take the picture').click()
    await page.locator('.stage').waitFor()
    await button(page, 'Search with all of it').click()
    await results(page)
    assert.ok(given(page, 'upload'))
  }))

test('an address is typed; what is none is said', () =>
  visit('/', async (page) => {
    const field = page.getByRole('textbox', { name: 'Search with a picture' })
    await field.fill('kitten')
    await field.press('Enter')
    await page.getByText('This is no address of a picture').waitFor()
    assert.equal(await field.getAttribute('aria-invalid'), 'true')
    await field.fill(`${PAGE}/images/11`)
    await field.press('Enter')
    await results(page)
    assert.equal(given(page, 'url'), `${PAGE}/images/11`)
    await button(page, 'Search with a part').waitFor()
  }))

test('an address that the server refuses is explained', () =>
  visit(
    '/?url=http://192.168.0.1/x.png',
    async (page) => {
      const said = page.getByRole('alert')
      await said.waitFor()
      assert.match(await said.innerText(), /A value is outside of what is possible\.\n[^]*private addresses/)
      await accessible(page)
    },
    { allow: REFUSED },
  ))

test('settings are sent, and are in the address', () =>
  visit('/?id=20', async (page) => {
    await results(page)
    const sent = []
    page.on('request', (request) => {
      if (request.url().endsWith('/search')) sent.push(request.postDataJSON())
    })
    const set = async (label, value) => {
      await page.getByRole('spinbutton', { name: label, exact: true }).fill(value)
      await page.getByRole('spinbutton', { name: label, exact: true }).press('Enter')
    }
    await page.getByLabel('Distance', { exact: true }).selectOption('chi2')
    await until(() => given(page, 'metric'), 'chi2')
    await set('Radius', '99')
    await page.getByText('Between 0 and 32').waitFor()
    assert.equal(given(page, 'radius'), null)
    await set('Radius', '12')
    await set('Candidates', '200')
    await set('Largest distance', '1e6')
    await set('Results', '15')
    await button(page, 'All labels').click()
    await page.getByRole('checkbox', { name: 'circle' }).check()
    await until(() => given(page, 'labels'))
    await page.getByRole('checkbox', { name: 'square' }).check()
    await until(() => given(page, 'labels')?.includes(','))
    await page.keyboard.press('Escape')
    await page.getByLabel('Fold near-copies').uncheck()
    await until(() => given(page, 'fold'), '0')
    await results(page)
    const labels = given(page, 'labels').split(',').map(Number)
    assert.deepEqual(sent.at(-1), {
      id: 20,
      metric: 'chi2',
      radius: 12,
      candidates: 200,
      max_distance: 1e6,
      top: 15,
      labels,
      fold: false,
    })
    const answer = await search(sent.at(-1))
    await until(async () => (await names(page)).join() === answer.hits.map((h) => h.name).join())
    assert.ok(answer.hits.every(({ label }) => labels.includes(label)))
    await page.goBack()
    await until(() => given(page, 'fold'), null)
    await button(page, 'Reset').click()
    await until(() => page.url(), `${PAGE}/?id=20`)
  }))

test('hashed, exact, or both compared', () =>
  visit('/?id=20', async (page) => {
    await results(page)
    await page.getByText('Exact', { exact: true }).click()
    await until(() => given(page, 'mode'), 'exact')
    await page.getByText('The same as comparing with every picture').waitFor()
    await page.getByText('Compare', { exact: true }).click()
    await page.getByText(/Exact search: .* of its results are among these/).waitFor()
    await page.getByText('Hashed', { exact: true }).click()
    await until(() => given(page, 'mode'), null)
  }))

test('nothing found says what to do', async () => {
  const own = (await search({ id: 20 })).hits[0].label
  await visit(`/?id=20&max_distance=0&labels=${own ? 0 : 1}`, async (page) => {
    await page.getByText('Widen the radius').waitFor()
    assert.equal(await page.locator('#pictures li').count(), 0)
    await accessible(page)
    await button(page, 'Reset').click()
    await tiles(page).first().waitFor()
  })
})

test('why a picture matched, bit by bit', () =>
  visit('/?id=20', async (page) => {
    await results(page)
    const tile = page.locator('#pictures li').nth(4)
    await tile.hover()
    await tile.getByRole('button', { name: 'Why this match' }).click()
    await page.locator('.compare').waitFor()
    const id = Number(given(page, 'why'))
    const { hits, query } = await search({ id: 20 })
    const hit = hits[4]
    assert.equal(hit.id, id)
    assert.equal(await page.locator('.bit').count(), 32)
    assert.equal(await page.locator('.bit.differ').count(), hit.hamming)
    const cells = await page
      .locator('.bit')
      .evaluateAll((all) =>
        all.map((bit) => [...bit.querySelectorAll('b')].map((b) => Number(b.className === 'one'))),
      )
    assert.equal(cells.map(([first]) => first).join(''), query.code)
    assert.equal(cells.map(([, second]) => second).join(''), hit.code)
    const text = await dialog(page).innerText()
    for (const name of ['Euclidean', 'Cosine', 'Chi-square', 'Manhattan', 'Chebyshev'])
      assert.ok(text.includes(name), name)
    assert.ok(text.includes(`${hit.coarse_rank} → ${hit.rank}`), text)
    await shot(page, 'why')
    await accessible(page)
    await page.keyboard.press('Escape')
    await until(() => dialog(page).count(), 0)
    assert.equal(given(page, 'why'), null)
    await page.goForward()
    await page.locator('.compare').waitFor()
    await page.goto(`${PAGE}/?id=20&why=${id}`) // as someone who was sent the address
    await page.locator('.compare').waitFor()
    await button(page, 'Close').click()
    await until(() => page.url(), `${PAGE}/?id=20`)
  }))

const stored = async () => (await fetch(`${PAGE}/api/v1/feedback/export?format=txt`)).text()

test('ratings refine at once, are stored, and are taken back', () =>
  visit('/?id=33', async (page) => {
    await results(page)
    const disliked = (await search({ id: 33 })).hits[2]
    const liked = (await search({ id: 33, disliked: [disliked.id] })).hits[8]
    const tile = (hit) => page.locator('#pictures li', { has: page.locator(`a[title="${hit.name}"]`) })
    await tile(disliked).hover()
    await tile(disliked).getByRole('button', { name: 'Less like this' }).click()
    await until(() => given(page, 'disliked'), String(disliked.id))
    await page.getByText('Refined by your ratings').waitFor()
    await until(() => tile(disliked).count(), 0)
    await tile(liked).hover()
    await tile(liked).getByRole('button', { name: 'More like this' }).click()
    await until(() => given(page, 'liked'), String(liked.id))
    await page.getByText('Stored.').first().waitFor()
    const refined = await search({ id: 33, liked: [liked.id], disliked: [disliked.id] })
    await until(async () => {
      const shown = await names(page)
      return shown.join() === refined.hits.slice(0, shown.length).map((h) => h.name).join()
    })
    await shot(page, 'refined')
    await accessible(page)
    await until(async () => (await stored()).includes(liked.name))
    await page.locator('.rated .picture').first().click()
    await until(() => given(page, 'liked'), null)
    await page.goBack()
    await until(() => given(page, 'liked'), String(liked.id))
    await button(page, 'Forget the ratings').click()
    await until(() => page.url(), `${PAGE}/?id=33`)
  }))

test('near-copies are folded, and unfold', async () => {
  const { hits } = await search({ id: 0 })
  const folded = hits.find(({ near_copies }) => near_copies > 0)
  assert.ok(folded, 'the library has near-copies')
  await visit('/?id=0', async (page) => {
    await results(page)
    const open = page.getByRole('button', {
      name: `${folded.near_copies} near-cop${folded.near_copies === 1 ? 'y' : 'ies'}`,
    })
    const before = await names(page)
    await open.first().click()
    await until(() => page.locator('.hit.copy').count(), folded.near_copies)
    const { hits: copies } = await ask('copies', { id: 0, hit: folded.id })
    const shown = page.locator('.hit.copy a')
    assert.deepEqual(
      await shown.evaluateAll((links) => links.map(({ title }) => title)),
      copies.map(({ name }) => name),
    )
    assert.equal(await open.first().getAttribute('aria-expanded'), 'true')
    await shot(page, 'copies')
    await accessible(page)
    await open.first().click()
    await until(async () => (await names(page)).join() === before.join())
  })
})

test('all of it works by keyboard', () =>
  visit('/', async (page) => {
    await tiles(page).first().waitFor()
    await page.keyboard.press('/')
    await until(() => page.evaluate(() => document.activeElement.tagName), 'INPUT')
    await page.keyboard.press('Escape')
    await tiles(page).first().focus()
    const index = () => page.evaluate(() => document.activeElement.closest('li')?.dataset.index)
    await page.keyboard.press('ArrowRight')
    await until(index, '1')
    await page.keyboard.press('ArrowDown')
    await until(async () => Number(await index()) > 4)
    await page.keyboard.press('ArrowUp')
    await until(index, '1')
    await page.keyboard.press('End')
    await until(index, String(PICTURES - 1))
    await page.keyboard.press('Home')
    await until(index, '0')
    assert.equal(await page.locator('#pictures li [data-tile][tabindex="0"]').count(), 1)
    await page.keyboard.press('Enter')
    await results(page)
    await tiles(page).nth(2).focus()
    await page.keyboard.press('w')
    await page.locator('.compare').waitFor()
    await page.keyboard.press('Escape')
    await until(() => dialog(page).count(), 0)
    await tiles(page).nth(2).focus()
    await page.keyboard.press('l')
    await until(() => given(page, 'liked'))
    await page.locator('h1').click()
    await page.keyboard.press('Escape')
    await until(() => page.url(), `${PAGE}/`)
    await page.keyboard.press('Tab')
    await tiles(page).first().waitFor()
  }))

test('theme and language are chosen and stay', () =>
  visit(
    '/?id=4',
    async (page) => {
      await results(page)
      const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor)
      const dark = await ground()
      await shot(page, 'results_dark')
      await accessible(page)
      await button(page, 'Light theme').click()
      await until(async () => (await ground()) !== dark)
      await button(page, '中文').click()
      await page.getByText('回到图库').waitFor()
      assert.equal(await page.locator('html').getAttribute('lang'), 'zh-CN')
      await page.reload()
      await page.getByText('回到图库').waitFor()
      assert.notEqual(await ground(), dark)
      await shot(page, 'results_chinese')
      await accessible(page)
    },
    { colorScheme: 'dark' },
  ))

test('a reader of Chinese is greeted in Chinese', () =>
  visit(
    '/',
    async (page) => {
      await page.getByRole('heading', { name: '图库' }).waitFor()
      await tiles(page).first().waitFor()
      await shot(page, 'gallery_chinese_dark')
      await accessible(page)
    },
    { locale: 'zh-CN', colorScheme: 'dark' },
  ))

test('the method is explained', () =>
  visit('/', async (page) => {
    await button(page, 'About').click()
    await page.getByText('This library').waitFor()
    await shot(page, 'about')
    await accessible(page)
    const [download] = await Promise.all([
      page.waitForEvent('download'),
      page.getByText('Ratings as a training list').click(),
    ])
    assert.equal(await readFile(await download.path(), 'utf8'), await stored())
    await page.keyboard.press('Escape')
    await until(() => dialog(page).count(), 0)
  }))

test('an upload joins the library', () =>
  visit(
    '/',
    async (page) => {
      await chooser(page).setInputFiles({
        name: 'new.svg',
        mimeType: 'image/png',
        buffer: await drawn(page),
      })
      await button(page, 'Search with all of it').click()
      await results(page)
      await button(page, 'Add to the library').click()
      await dialog(page).getByLabel('Label').selectOption({ label: 'cross' })
      await dialog(page).getByRole('button', { name: 'Add to the library' }).click()
      await page.getByText('This server asks for a token').waitFor()
      await accessible(page)
      await enterTokens(page, ['wrong', process.env.TOKEN])
      await page.getByText('The picture is in the library.').waitFor()
      await until(() => dialog(page).count(), 0)
      await page.getByRole('link', { name: 'LatentHash: to the gallery' }).click()
      await page.getByText(`${PICTURES + 1} pictures`).waitFor()
    },
    { allow: REFUSED },
  ))

async function enterTokens(page, [wrong, right]) {
  const field = page.locator('dialog input[type=password]')
  await field.fill(wrong)
  await button(page, 'Continue').click()
  await page.getByText('This token is not accepted.').waitFor()
  await field.fill(right)
  await button(page, 'Continue').click()
}

// A picture that the library does not have.
async function drawn(page) {
  const url = await page.evaluate(() => {
    const canvas = document.createElement('canvas')
    canvas.width = canvas.height = 120
    const pen = canvas.getContext('2d')
    pen.fillStyle = '#d8f'
    pen.fillRect(20, 50, 90, 30)
    return canvas.toDataURL('image/png')
  })
  return Buffer.from(url.split(',')[1], 'base64')
}

test('failures are said in words', async () => {
  const allow = REFUSED
  await visit(
    '/?upload=00000000000000000000000000000000',
    async (page) => {
      await page.getByText('Uploaded pictures are kept for an hour').waitFor()
      await shot(page, 'expired')
    },
    { allow },
  )
  await visit(
    '/?id=99999',
    (page) => page.getByText('It is not there, or no longer there.').waitFor(),
    { allow },
  )
  await visit(
    '/',
    async (page) => {
      const broken = { name: 'x.png', mimeType: 'image/png', buffer: Buffer.from('no picture') }
      await chooser(page).setInputFiles(broken)
      await page.getByText('This picture cannot be shown.').waitFor()
      await button(page, 'Search with all of it').click()
      await page.getByText('not a picture that can be read').waitFor()
      await chooser(page).setInputFiles({ ...broken, mimeType: 'text/plain', name: 'x.txt' })
      await page.getByText('This is not a picture.').waitFor()
      await chooser(page).setInputFiles({ ...broken, buffer: Buffer.alloc(3_000_000) })
      await page.getByText(/The picture has 2\.9 MiB; at most 1\.9 MiB are taken\./).waitFor()
    },
    { allow },
  )
})

test('a server that is away is waited for', () =>
  visit(
    '/',
    async (page, context) => {
      await tiles(page).first().waitFor()
      await context.setOffline(true)
      await tiles(page).first().click()
      await page.getByText('The server does not answer.').waitFor()
      await context.setOffline(false)
      await button(page, 'Try again').click()
      await results(page)
    },
    { allow: /Failed to load resource|ERR_INTERNET_DISCONNECTED/ },
  ))

test('slow and missing pictures hold nothing up', () =>
  visit(
    '/',
    async (page) => {
      let release
      const held = new Promise((resolve) => (release = resolve))
      await page.route('**/thumbnails/**', async (route) => {
        await held
        await route.abort().catch(() => null) // the page may have been left
      })
      await page.reload()
      await tiles(page).first().waitFor()
      const box = await tiles(page).first().boundingBox()
      assert.ok(Math.abs(box.width - box.height) < 1)
      await tiles(page).nth(3).click()
      await results(page)
      assert.ok((await tiles(page).count()) > 10)
      const places = () =>
        page.locator('#pictures li').evaluateAll((all) => all.map((li) => li.style.transform))
      const before = await places()
      release()
      await page.locator('.box.missing .mark').first().waitFor()
      assert.deepEqual(await places(), before)
      await accessible(page)
    },
    { allow: REFUSED },
  ))

test('a search that was overtaken does not come back', () =>
  visit('/?id=1', async (page) => {
    await results(page)
    let release
    const held = new Promise((resolve) => (release = resolve))
    await page.route('**/api/v1/search', async (route) => {
      if (route.request().postDataJSON().metric !== 'l1') return route.continue()
      await held
      await route.continue().catch(() => null) // called off meanwhile
    })
    await page.getByLabel('Distance', { exact: true }).selectOption('l1')
    await until(() => given(page, 'metric'), 'l1')
    await page.getByLabel('Distance', { exact: true }).selectOption('linf')
    await results(page)
    const expected = (await search({ id: 1, metric: 'linf' })).hits[5].name
    await until(async () => (await names(page))[5] === expected)
    release()
    await page.waitForTimeout(300)
    assert.equal((await names(page))[5], expected)
  }))

test('a server that asks readers for a token', () =>
  visit(
    '/',
    async (page) => {
      await enterTokens(page, ['wrong', process.env.READ_TOKEN])
      await page.locator('.box.shown').first().waitFor()
      await tiles(page).first().click()
      await results(page)
      await page.reload() // the token is kept
      await results(page)
    },
    { base: process.env.PAGE_CLOSED, allow: REFUSED },
  ))

test('a phone', () =>
  visit(
    '/',
    async (page) => {
      const fits = () =>
        page.evaluate(() => document.documentElement.scrollWidth <= document.body.clientWidth)
      await tiles(page).first().waitFor()
      await shot(page, 'phone_gallery')
      assert.ok(await fits())
      await accessible(page)
      await tiles(page).nth(1).tap()
      await results(page)
      await shot(page, 'phone_results')
      assert.ok(await fits())
      await accessible(page)
      assert.equal(await page.getByLabel('Radius', { exact: true }).isVisible(), false)
      await button(page, 'Settings').tap()
      await page.getByLabel('Radius', { exact: true }).waitFor()
      await shot(page, 'phone_settings')
      assert.ok(await fits())
      await page.locator('#pictures li').nth(2).getByRole('button', { name: 'Why this match' }).tap()
      await page.locator('.compare').waitFor()
      await shot(page, 'phone_why')
      await accessible(page)
    },
    { phone: true },
  ))

test('links open where they are told to', () =>
  visit('/?id=2', async (page, context) => {
    await results(page)
    const [opened] = await Promise.all([
      context.waitForEvent('page'),
      tiles(page).nth(3).click({ modifiers: ['Control'] }),
    ])
    await results(opened)
    assert.equal(given(page, 'id'), '2')
    assert.notEqual(given(opened, 'id'), '2')
  }))
