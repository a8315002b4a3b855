// LSTM language models: embedding, layers, softmax, on words or characters. Input "x" s32
// [batch, steps]; output "logits" f32 [steps * batch, tokens], row t * batch + b of step t of lane
// b. The states of the layers, "lstm.I.h" and "lstm.I.c", are carried from batch to batch.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "nn/network.h"
#include "nn/recurrent.h"

namespace tessera::models {

struct LstmSize {
  std::int64_t layers = 1, hidden = 300;
  std::int64_t embedding = 0;  // elements of an embedding; 0: as hidden
  double dropout = 0;          // before and behind every layer
  double init = 0.1;           // weights start in U(-init, init)
};

struct LstmChoices {
  // The softmax reads the embedding's table (Press & Wolf 2017), which is then as wide as a layer.
  bool tied = false;
  bool same_dropout = false;  // SequenceDropout
  double recurrent_dropout = 0;
  nn::RecurrentNorm norm = nn::RecurrentNorm::none;
};

class LstmLanguageModel final : public nn::Network {
 public:
  // Throws Error for sizes and probabilities that are none.
  LstmLanguageModel(std::int64_t tokens, LstmSize size, LstmChoices choices = {});
  nn::Values forward(nn::Scope& scope, const nn::Values& inputs) const override;

 private:
  std::int64_t tokens_;
  LstmSize size_;
  LstmChoices choices_;
};

// The sizes that publications use, by name.
struct NamedLstm {
  std::string name, description;
  LstmSize size;
};
const std::vector<NamedLstm>& lstm_sizes();
// Throws Error listing the names for one that is unknown.
const NamedLstm& lstm_size(std::string_view name);

}  // namespace tessera::models
