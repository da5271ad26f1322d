// Drives the page of this folder in a browser: drive.mjs BROWSER URL
//
// Speaks the language of ../serve.py, with addresses of the site in place of
// files to read, and one command more, which uses the page as people do:
// {"enlarge": PICTURE, "network": MODEL, "white": W, "output": FILE.png}
import { createInterface } from 'node:readline'
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { chromium } from 'playwright-core'

const [browserPath, url] = process.argv.slice(2)
const browser = await chromium.launch({ executablePath: browserPath, args: ['--no-sandbox'] }) // root has no sandbox
const page = await browser.newPage()
await page.goto(url)
await page.evaluate(() => { window.sessions = [] })

// In the page.
async function open({ model, input }) {
  const { open, run } = await import('/enlarge.mjs')
  const fetched = async address => (await fetch(address)).arrayBuffer()
  const file = await fetched(input) // .npy, float32
  const start = 10 + new DataView(file).getUint16(8, true)
  const header = new TextDecoder().decode(file.slice(10, start))
  const dims = header.match(/'shape': *\(([^)]*)\)/)[1].split(',').filter(s => s.trim()).map(Number)
  const data = new Float32Array(file.slice(start))
  const network = await open(await fetched(model))
  const once = () => run(network, data, dims)
  const y = await once()
  const bytes = new Uint8Array(y.data.buffer, y.data.byteOffset, y.data.byteLength)
  let text = ''
  for (let i = 0; i < bytes.length; i += 32768) text += String.fromCharCode(...bytes.subarray(i, i + 32768))
  return { id: window.sessions.push({ network, once }) - 1, dims: y.dims, data: btoa(text) }
}

async function run(id) {
  const start = performance.now()
  await window.sessions[id].once()
  const wall = (performance.now() - start) / 1000
  return { wall, cpu: wall }
}

async function close(id) {
  await window.sessions[id].network.release()
  window.sessions[id] = null
  return {}
}

function npy(dims, data) {
  let header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${dims.join(', ')},), }`
  header = header.padEnd(Math.ceil((header.length + 11) / 64) * 64 - 11) + '\n'
  const length = Buffer.alloc(2)
  length.writeUInt16LE(header.length)
  return Buffer.concat([Buffer.from('\x93NUMPY\x01\x00', 'latin1'), length, Buffer.from(header), data])
}

async function enlarge(command) {
  const page = await browser.newPage()
  try {
    await page.goto(url)
    await page.setInputFiles('#network', command.network)
    await page.setInputFiles('#picture', command.enlarge)
    await page.selectOption('#white', String(command.white))
    await page.click('#go')
    await page.waitForFunction(() => /^(done|failed)/.test(document.getElementById('state').textContent), null, { timeout: 240000 })
    const state = await page.textContent('#state')
    if (!state.startsWith('done')) return { error: state }
    const png = await page.evaluate(() => document.getElementById('enlarged').toDataURL('image/png'))
    writeFileSync(command.output, Buffer.from(png.split(',')[1], 'base64'))
    return {}
  } finally {
    await page.close()
  }
}

async function answer(command) {
  if ('enlarge' in command) return enlarge(command)
  if ('run' in command) return page.evaluate(run, command.run)
  if ('close' in command) return page.evaluate(close, command.close)
  const { id, dims, data } = await page.evaluate(open, { model: command.open, input: command.input })
  writeFileSync(command.output, npy(dims, Buffer.from(data, 'base64')))
  return { id, nodes: [] }
}

const say = result => process.stdout.write(JSON.stringify(result) + '\n')
const modules = join(fileURLToPath(import.meta.url), '..', 'node_modules')
say({ version: JSON.parse(readFileSync(join(modules, 'onnxruntime-web', 'package.json'))).version + ', Chromium ' + browser.version() })
for await (const line of createInterface({ input: process.stdin })) {
  try {
    say(await answer(JSON.parse(line)))
  } catch (e) {
    say({ error: String(e.message ?? e) })
  }
}
await browser.close()
