// The most memory that node with ONNX Runtime held (VmHWM), and the least time of 50 runs, one thread.
//   npm install --ignore-scripts onnxruntime-node; node onnxruntime_memory.js FILE.onnx N C H W ...
// Without a file: node with the library loaded and nothing done.
const fs = require('fs');
const ort = require(require.resolve('onnxruntime-node', {paths: [process.cwd()]}));

const peak = () => /VmHWM:\s*(\d+)/.exec(fs.readFileSync('/proc/self/status', 'utf8'))[1] + ' kB';

async function main(file, dims) {
  if (!file) {
    new ort.Tensor('float32', new Float32Array(3072), [1, 3072]);
    return console.log('nothing loaded', peak());
  }
  const session = await ort.InferenceSession.create(file, {
    intraOpNumThreads: 1, interOpNumThreads: 1, executionMode: 'sequential', graphOptimizationLevel: 'all'});
  const values = Float32Array.from({length: dims.reduce((a, b) => a * b)}, (_, i) => Math.sin(i + 1));
  const feeds = {[session.inputNames[0]]: new ort.Tensor('float32', values, dims)};
  let least = Infinity;
  for (let i = 0; i < 50; i++) {
    const begin = performance.now();
    await session.run(feeds);
    least = Math.min(least, performance.now() - begin);
  }
  console.log(file, peak(), least.toFixed(4) + ' ms');
}
main(process.argv[2], process.argv.slice(3).map(Number));
