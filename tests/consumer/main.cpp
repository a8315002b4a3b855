// What a user's first program does, with the installed headers and libraries: train, compress,
// save, load, run. README.md shows the same calls.
#include <tessera/tessera.h>

#include <algorithm>
#include <iostream>
#include <memory>

int main() {
  using namespace tessera;
  const auto digits = datasets::synthetic_digits({.train = 2000, .test = 200});
  const auto preprocess = datasets::Preprocess::minus_mean(digits.train);
  const datasets::Batches train(digits.train, preprocess), test(digits.test, preprocess);

  const auto net =
      std::make_shared<nn::Sequential>(nn::Linear(784, 64), nn::Tanh(), nn::Linear(64, 10));
  nn::Trainer trainer = nn::classifier(net, {784}, 10, {.batch = 100});
  nn::fit(trainer, train, {.epochs = 5, .lr = nn::cosine(0.1, 0.001, 5)});

  const auto plan = quant::plan_compression(trainer.parameters(), trainer.state(),
                                            {.weights = {quant::CodebookSpec::adaptive(4)}});
  std::cout << plan.text();
  quant::LearningCompression lc(
      {.alternation = {.steps = 6, .epochs = 1, .first_epochs = 2}, .mu = 1e-2, .mu_growth = 2});
  const auto result = quant::compress(trainer, train, plan, lc, {.test = &test});
  Model packed = quant::harden(trainer, result.codebooks);
  std::cout << quant::size_report(packed).text();
  const auto hardened = nn::Evaluator(clone(packed.graph), trainer.task())(packed.state, test);

  save(packed, "net-2bit.json");
  const Plan serving = compile(load("net-2bit.json"), {.batch = 200, .packed_only = true});
  const Tensor x = preprocess.apply(digits.test.images);
  const auto outputs = serving.run({{"x", x}});
  const auto logits = outputs.at("logits").span<float>();
  const auto labels = digits.test.labels.span<std::int32_t>();
  std::int64_t correct = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto row = logits.subspan(10 * i, 10);
    correct += std::max_element(row.begin(), row.end()) - row.begin() == labels[i];
  }
  std::cout << serving.text() << correct << " of " << labels.size() << " digits right, "
            << hardened.value("correct") << " before saving\n";
  return correct == hardened.value("correct") && correct > 150 ? 0 : 1;
}
