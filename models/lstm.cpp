#include "models/lstm.h"

#include "core/words.h"
#include "ops/build.h"
#include "ops/matmul/matmul.h"

namespace tessera::models {

LstmLanguageModel::LstmLanguageModel(std::int64_t tokens, LstmSize size, LstmChoices choices)
    : tokens_(tokens), size_(size), choices_(choices) {
  if (size_.embedding == 0) size_.embedding = size_.hidden;
  check(tokens >= 1 && size_.layers >= 1 && size_.hidden >= 1 && size_.embedding >= 1,
        "a language model needs tokens, layers and units, got ", tokens, ", ", size_.layers, ", ",
        size_.hidden, " and embeddings of ", size_.embedding);
  check(!choices_.tied || size_.embedding == size_.hidden, "a tied softmax needs embeddings of ",
        size_.hidden, " elements, as many as units, got ", size_.embedding);
}

nn::Values LstmLanguageModel::forward(nn::Scope& scope, const nn::Values& inputs) const {
  const Value tokens = nn::require(inputs, "x", "the language model");
  check(tokens.type().dtype == DType::s32 && tokens.shape().rank() == 2,
        "the language model reads x s32[batch,steps], got ", tokens.type().text());
  const nn::Init init =
      nn::Init::uniform(static_cast<float>(-size_.init), static_cast<float>(size_.init));
  const nn::Embedding embedding(tokens_, size_.embedding, init);
  const nn::SequenceDropout dropout(size_.dropout, choices_.same_dropout);
  const auto dropped = [&](const std::string& name, Value x) {
    return scope.in(name, [&] { return dropout.forward(scope, x); });
  };
  Value table;
  Value y = scope.in("embedding", [&] {
    if (choices_.tied) table = embedding.table(scope);
    return embedding.forward(scope, ops::transpose(tokens));  // steps first
  });
  y = dropped("dropout0", y);
  for (std::int64_t i = 0; i < size_.layers; ++i) {
    const nn::Lstm layer(
        i == 0 ? size_.embedding : size_.hidden, size_.hidden,
        {.norm = choices_.norm, .init = init, .recurrent_dropout = choices_.recurrent_dropout});
    y = scope.in(cat("lstm.", i), [&] {
      const Value h = scope.carried("h", {size_.hidden}), c = scope.carried("c", {size_.hidden});
      const nn::Lstm::Result out = layer.forward(scope, y, h, c);
      scope.carry(h, out.h);
      scope.carry(c, out.c);
      return out.y;
    });
    y = dropped(cat("dropout", i + 1), y);
  }
  const Shape& shape = y.shape();
  y = ops::reshape(y, {shape[0] * shape[1], size_.hidden});
  const Value logits = scope.in("softmax", [&] {
    const Value weight =
        choices_.tied ? table : scope.param("weight", {tokens_, size_.hidden}, init);
    y = scope.layer_input(y);
    return ops::linear(y, weight, scope.param("bias", {tokens_}, nn::Init::constant(0)));
  });
  return {{"logits", logits}};
}

const std::vector<NamedLstm>& lstm_sizes() {
  // Zaremba, Sutskever & Vinyals 2014; one layer: Xu et al. 2018, Hou et al. 2019.
  static const std::vector<NamedLstm> sizes = {
      {"lstm100", "one LSTM of 100", {.layers = 1, .hidden = 100}},
      {"lstm300", "one LSTM of 300", {.layers = 1, .hidden = 300, .dropout = 0.5}},
      {"lstm650", "one LSTM of 650", {.layers = 1, .hidden = 650, .dropout = 0.5, .init = 0.05}},
      {"lstm200x2", "two LSTMs of 200, Zaremba's small one", {.layers = 2, .hidden = 200}},
      {"lstm650x2",
       "two LSTMs of 650, Zaremba's medium one",
       {.layers = 2, .hidden = 650, .dropout = 0.5, .init = 0.05}},
      {"lstm1500x2",
       "two LSTMs of 1500, Zaremba's large one",
       {.layers = 2, .hidden = 1500, .dropout = 0.65, .init = 0.04}},
  };
  return sizes;
}

const NamedLstm& lstm_size(std::string_view name) {
  std::vector<std::string> known;
  for (const NamedLstm& size : lstm_sizes()) {
    if (size.name == name) return size;
    known.push_back(size.name);
  }
  fail_unknown("network", name, known);
}

}  // namespace tessera::models
