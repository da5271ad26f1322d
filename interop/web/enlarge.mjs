// Runs an SR network in ONNX Runtime Web (WASM, one thread).
import * as ort from '/ort/ort.wasm.min.mjs'

ort.env.wasm.wasmPaths = '/ort/'
ort.env.wasm.numThreads = 1 // more need a page that is isolated from other origins
ort.env.logLevel = 'error'

// open loads a network from the bytes of its file.
export function open(bytes) {
  return ort.InferenceSession.create(new Uint8Array(bytes), { executionProviders: ['wasm'], logSeverityLevel: 3 })
}

// run puts float values of a shape [N,C,H,W] through a network with one input and
// one output, and returns {data, dims}.
export async function run(network, data, dims) {
  const results = await network.run({ [network.inputNames[0]]: new ort.Tensor('float32', data, dims) })
  return results[network.outputNames[0]]
}

// enlarge puts a picture (a Blob) through an RGB network whose input has the value
// white for white, and returns ImageData.
export async function enlarge(network, picture, white = 1) {
  const bitmap = await createImageBitmap(picture, { colorSpaceConversion: 'none', premultiplyAlpha: 'none' })
  const { width, height } = bitmap
  const context = new OffscreenCanvas(width, height).getContext('2d')
  context.drawImage(bitmap, 0, 0)
  const pixels = context.getImageData(0, 0, width, height).data
  const planes = new Float32Array(3 * width * height)
  for (let i = 0; i < width * height; i++)
    for (let c = 0; c < 3; c++) planes[c * width * height + i] = pixels[4 * i + c] / 255 * white

  const y = await run(network, planes, [1, 3, height, width])
  const [, , h, w] = y.dims
  const enlarged = new ImageData(w, h)
  for (let i = 0; i < w * h; i++) {
    for (let c = 0; c < 3; c++) enlarged.data[4 * i + c] = y.data[c * w * h + i] / white * 255 // rounded and clamped
    enlarged.data[4 * i + 3] = 255
  }
  return enlarged
}
