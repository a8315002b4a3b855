// Runs a saved model on made-up inputs and prints the sums of its outputs; with a number of runs,
// how long one takes and the most memory that the process held, too.
//   run_model MODEL.json [BATCH [RUNS]]
#include <tessera/runtime.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <fstream>
#include <string>
#if defined(EMBEDDED)
#include EMBEDDED
#endif

namespace {

// EMBEDDED: the header of a model, which the program has in itself.
tessera::Model model_of(const char* file) {
#if defined(EMBEDDED)
  (void)file;
  return net::load();
#else
  return tessera::load(file);
#endif
}

void fill(tessera::Tensor& tensor) {
  if (tensor.dtype() == tessera::DType::f32) {
    int i = 0;
    for (float& value : tensor.span<float>()) value = std::sin(static_cast<float>(++i));
  } else if (tensor.dtype() == tessera::DType::s32) {
    std::int32_t i = 0;
    for (std::int32_t& value : tensor.span<std::int32_t>()) value = ++i % 10;
  }
}

void print_costs(tessera::RunContext& context, int runs) {
  using Clock = std::chrono::steady_clock;
  double least = HUGE_VAL;
  for (int i = 0; i < runs; ++i) {
    const auto begin = Clock::now();
    context.run();
    least =
        std::min(least, std::chrono::duration<double, std::milli>(Clock::now() - begin).count());
  }
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM")) std::printf("%s\n", line.c_str());
  }
  std::printf("least of %d runs: %.4f ms\n", runs, least);
}

}  // namespace

int main(int argc, char** argv) try {
  if (argc < 2) throw tessera::Error("usage: run_model MODEL.json [BATCH [RUNS]]");
  const int batch = argc > 2 ? std::atoi(argv[2]) : 1, runs = argc > 3 ? std::atoi(argv[3]) : 0;
  const auto [plan, inputs] = [&] {
    const tessera::Model model = model_of(argv[1]);
    std::map<std::string, tessera::Tensor> made;
    for (const tessera::Node* node : model.graph.inputs()) {
      const tessera::TensorType& type = node->types()[0];
      tessera::Tensor tensor(type.dtype, type.shape.bind(batch));
      fill(tensor);
      made.emplace(node->name(), std::move(tensor));
    }
    return std::pair(compile(model, {.batch = batch}), std::move(made));
  }();
  for (const auto& [name, tensor] : plan.run(inputs)) {
    double sum = 0, squares = 0;
    for (const float value : tensor.span<float>()) {
      sum += value;
      squares += value * value;
    }
    std::printf("%s %.5g %.5g\n", name.c_str(), sum, squares);
  }
  if (runs > 0) {
    tessera::RunContext context = plan.context();
    for (const auto& [name, tensor] : inputs) context.bind(name, tensor);
    print_costs(context, runs);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "run_model: %s\n", error.what());
  return 2;
}
