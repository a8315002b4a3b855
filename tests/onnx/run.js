// Runs ONNX files in ONNX Runtime: node run.js ONNXRUNTIME-NODE FOLDER. For every NAME.onnx of the
// folder NAME.json lists the inputs (name, type, dims, file); each output goes to NAME.OUTPUT.out, 32-bit
// floats, and a line "NAME OUTPUT DIMS" to stdout, or "NAME error MESSAGE".
const fs = require('fs'), path = require('path');
const ort = require(path.resolve(process.argv[2]));
const folder = process.argv[3];
// By default ONNX Runtime rounds the activations before a packed product to 8 bits; level 1 is f32.
const exact = { session: { qdq_matmulnbits_accuracy_level: '1' } };
const arrays = { float32: Float32Array, int32: Int32Array, int64: BigInt64Array, uint8: Uint8Array };
(async () => {
  for (const file of fs.readdirSync(folder).filter(f => f.endsWith('.onnx')).sort()) {
    const name = file.slice(0, -5);
    try {
      const session = await ort.InferenceSession.create(path.join(folder, file),
                                                        { intraOpNumThreads: 1, interOpNumThreads: 1, extra: exact });
      const feeds = {};
      for (const input of JSON.parse(fs.readFileSync(path.join(folder, name + '.json')))) {
        const bytes = fs.readFileSync(path.join(folder, input.file));
        const data = new arrays[input.type](new Uint8Array(bytes).buffer);
        feeds[input.name] = new ort.Tensor(input.type, data, input.dims);
      }
      const results = await session.run(feeds);
      for (const output of session.outputNames) {
        const tensor = results[output];
        fs.writeFileSync(path.join(folder, `${name}.${output}.out`), Buffer.from(Float32Array.from(tensor.data, Number).buffer));
        console.log(`${name} ${output} ${tensor.dims.join(',')}`);
      }
      await session.release();
    } catch (e) {
      console.log(`${name} error ${String(e).split('\n')[0]}`);
    }
  }
})();
