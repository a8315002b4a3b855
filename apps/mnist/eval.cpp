// mnist eval: what a model file is and does.
#include "apps/common/cli.h"
#include "apps/common/experiment.h"
#include "apps/common/latency.h"
#include "apps/common/table.h"
#include "apps/mnist/digits.h"
#include "apps/mnist/verbs.h"
#include "core/files/model.h"
#include "core/files/safetensors.h"
#include "ops/op_list.h"
#include "quant/harden.h"

namespace tessera::apps {

namespace {

// Logits of the whole test set, for comparison with other programs or batch sizes.
Tensor all_logits(const Model& model, const BatchSource& data, std::int64_t batch,
                  bool packed_only) {
  Tensor out;
  const auto run = [&](std::int64_t begin, std::int64_t end, std::int64_t n) {
    if (begin == end) return;
    CompileOptions options;
    options.batch = n;
    options.packed_only = packed_only;
    const Plan plan = compile(model, options);
    RunContext context = plan.context();
    Tensor x(DType::f32, Shape{n, data.sample_shape()[0]}), y(DType::s32, Shape{n});
    context.bind("x", x);
    for (std::int64_t first = begin; first < end; first += n) {
      data.fill(-1, first, x, y);
      context.run();
      const Tensor& logits = context.output("logits");
      if (!out.defined()) out = Tensor(DType::f32, Shape{data.samples(), logits.shape()[1]});
      out.slice(first, first + n).copy_from(logits.span<float>());
    }
  };
  const std::int64_t rest = data.samples() % batch, full = data.samples() - rest;
  run(0, full, batch);
  run(full, data.samples(), rest);
  return out;
}

}  // namespace

int mnist_eval(const std::vector<std::string>& args) {
  DataFlags data;
  RunFlags run;
  std::string logits;
  std::int64_t batch = 1000;
  bool packed_only = false;
  po::options_description options("Flags");
  data.add_flags(options);
  auto add = options.add_options();
  add("batch", flag(batch), "images at once");
  add("packed-only", po::bool_switch(&packed_only),
      "fail if a kernel needs a whole codebook weight decoded");
  add("logits", text_flag(logits, "FILE.safetensors"), "write the logits of all test images");
  run.add_reading_flags(options);
  std::vector<std::string> files;
  const VerbUsage usage{"mnist eval MODEL.json [flags]",
                        "Loads a model and measures it on the test images."};
  if (!parse_flags(args, usage, options, files, 1)) return kExitDone;
  check(files.size() == 1, "expected one model file; usage: ", usage.line);
  check_range("--batch", static_cast<double>(batch), 1, 1 << 20);
  Session session(run);
  const Model model = load(files[0], ops::standard_ops());
  const Digits digits = load_digits(data);
  require_same_settings(files[0], model.settings, digits.settings());
  session.open_outputs();
  session.detail() << "Data: " << digits.text << std::endl;

  CompileOptions compile_options;
  compile_options.packed_only = packed_only;
  State state = model.state.clone();
  const auto source = digits.test();
  const auto test = nn::Evaluator(clone(model.graph), compile_options)(state, *source, batch);
  const auto size = quant::size_report(model);
  const Latency latency = measure_latency(model, 1, packed_only);
  if (!logits.empty()) {
    write_safetensors(logits, {{"logits", all_logits(model, *source, batch, packed_only)}});
  }
  session.text() << files[0] << ": test error " << fixed(test.error_percent(), 2) << " % ("
                 << test.correct << " of " << test.samples << " correct), loss "
                 << fixed(test.loss, 4) << "\n"
                 << size.text() << "batch 1: " << fixed(latency.median_us, 1) << " us (median of "
                 << latency.runs << " runs), kernels " << latency.kernels
                 << ", weights in the plan " << latency.weight_bytes << " bytes\n";
  session.json() = {{"verb", "eval"},
                    {"file", files[0]},
                    {"data", digits.text},
                    {"test_error", test.error_percent()},
                    {"test_loss", test.loss},
                    {"correct", test.correct},
                    {"samples", test.samples},
                    {"bytes", size.bytes()},
                    {"bits_per_weight", size.bits_per_weight()},
                    {"entropy_bits", size.entropy_bits_per_weight()},
                    {"ratio", size.ratio()},
                    {"latency_us", latency.median_us},
                    {"kernel", latency.kernels},
                    {"plan_weight_bytes", latency.weight_bytes}};
  session.finish();
  return kExitDone;
}

}  // namespace tessera::apps
