// What a user's first program does, with the installed headers and libraries: train, save, load,
// run.
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
  nn::Trainer trainer(net, {784}, 10, {.batch = 100});
  nn::fit(trainer, train, {.epochs = 5, .lr = nn::constant(0.05)});
  const auto trained = trainer.evaluate(test);

  save({nn::inference_graph(*net, {784}), trainer.state().clone()}, "net");
  const Plan plan = compile(load("net.json"), {.batch = 200});
  const Tensor x = preprocess.apply(digits.test.images);
  const auto outputs = plan.run({{"x", x}});
  const auto logits = outputs.at("logits").span<float>();
  const auto labels = digits.test.labels.span<std::int32_t>();
  std::int64_t correct = 0;
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const auto row = logits.subspan(10 * i, 10);
    correct += std::max_element(row.begin(), row.end()) - row.begin() == labels[i];
  }
  std::cout << plan.text() << correct << " of " << labels.size() << " digits right, "
            << trained.correct << " when trained\n";
  return correct == trained.correct && correct > 150 ? 0 : 1;
}
