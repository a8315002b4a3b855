#include "apps/common/experiment.h"

namespace tessera::apps {

Json Compression::json() const {
  Json out = {{"method", variant.method},
              {"codebook", variant.codebook},
              {"group_rows", variant.group_rows},
              {"sparse", variant.sparse},
              {"file", file},
              {"kernel", kernel},
              {"seed", seed},
              {"epochs", epochs},
              {"error_before", error_before},
              {"error_dc", error_dc},
              {"error_after", after.all.error_percent()},
              {"loss_after", after.all.loss},
              {"correct", after.all.correct},
              {"samples", after.all.samples},
              {"after", after.json()},
              {"weights_bytes", weights_bytes},
              {"json_bytes", json_bytes},
              {"index_bytes", index_bytes},
              {"codebook_bytes", codebook_bytes},
              {"sparse_bytes", sparse_bytes},
              {"dense_bytes", dense_bytes},
              {"bits_per_weight", bits_per_weight},
              {"entropy_bits", entropy_bits},
              {"effective_bits", effective_bits},
              {"ratio", ratio},
              {"file_index_bytes", file_index_bytes},
              {"file_bits_per_weight", file_bits_per_weight},
              {"dense_us", dense_us},
              {"packed_us", packed_us},
              {"decoded", decoded},
              {"distance", distance},
              {"seconds", seconds}};
  if (error_before_bn) out["error_before_bn"] = *error_before_bn;
  return out;
}

Compression Compression::parse(const Json& json, const std::string& file) {
  const JsonAt at(json, file);
  Compression out;
  out.variant = {at.at("method").text(), at.at("codebook").text(), at.at("group_rows").integer(0),
                 0};
  // Of older results: none.
  if (const auto sparse = at.find("sparse")) out.variant.sparse = sparse->number();
  if (const auto bytes = at.find("sparse_bytes")) out.sparse_bytes = bytes->integer(0);
  out.file = at.at("file").text();
  out.kernel = at.at("kernel").text();
  out.seed = at.at("seed").integer(0);
  if (const auto n = at.find("epochs")) out.epochs = n->integer(0);  // older files have none
  out.error_before = at.at("error_before").number();
  out.error_dc = at.at("error_dc").number();
  if (json.contains("error_before_bn")) out.error_before_bn = at.at("error_before_bn").number();
  out.after = Measured::parse(at.at("after"));
  out.weights_bytes = at.at("weights_bytes").integer(0);
  out.json_bytes = at.at("json_bytes").integer(0);
  out.index_bytes = at.at("index_bytes").integer(0);
  out.codebook_bytes = at.at("codebook_bytes").integer(0);
  out.dense_bytes = at.at("dense_bytes").integer(0);
  out.bits_per_weight = at.at("bits_per_weight").number();
  out.entropy_bits = at.at("entropy_bits").number();
  out.effective_bits = at.at("effective_bits").number();
  out.ratio = at.at("ratio").number();
  // Results of before there were coded files lack them.
  const auto file_bytes = at.find("file_index_bytes"), file_bits = at.find("file_bits_per_weight");
  out.file_index_bytes = file_bytes ? file_bytes->integer(0) : out.index_bytes;
  out.file_bits_per_weight = file_bits ? file_bits->number() : out.bits_per_weight;
  out.dense_us = at.at("dense_us").number();
  out.packed_us = at.at("packed_us").number();
  for (const JsonAt& line : at.at("decoded").items()) out.decoded.push_back(line.text());
  out.distance = at.at("distance").number();
  out.seconds = at.at("seconds").number();
  return out;
}

}  // namespace tessera::apps
