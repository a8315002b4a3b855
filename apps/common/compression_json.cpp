#include "apps/common/experiment.h"

namespace tessera::apps {

Json Compression::json() const {
  return {{"method", variant.method},
          {"codebook", variant.codebook},
          {"group_rows", variant.group_rows},
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
          {"dense_bytes", dense_bytes},
          {"bits_per_weight", bits_per_weight},
          {"entropy_bits", entropy_bits},
          {"effective_bits", effective_bits},
          {"ratio", ratio},
          {"dense_us", dense_us},
          {"packed_us", packed_us},
          {"decoded", decoded},
          {"distance", distance},
          {"seconds", seconds}};
}

Compression Compression::parse(const Json& json, const std::string& file) {
  const JsonAt at(json, file);
  Compression out;
  out.variant = {at.at("method").text(), at.at("codebook").text(), at.at("group_rows").integer(0)};
  out.file = at.at("file").text();
  out.kernel = at.at("kernel").text();
  out.seed = at.at("seed").integer(0);
  if (const auto n = at.find("epochs")) out.epochs = n->integer(0);  // older files have none
  out.error_before = at.at("error_before").number();
  out.error_dc = at.at("error_dc").number();
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
  out.dense_us = at.at("dense_us").number();
  out.packed_us = at.at("packed_us").number();
  for (const JsonAt& line : at.at("decoded").items()) out.decoded.push_back(line.text());
  out.distance = at.at("distance").number();
  out.seconds = at.at("seconds").number();
  return out;
}

}  // namespace tessera::apps
