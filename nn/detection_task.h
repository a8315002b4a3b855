// Which objects are where in a picture: detectors of any kind, judged as COCO judges them.
#pragma once

#include <cstdint>
#include <memory>

#include "nn/detection.h"
#include "nn/task.h"

namespace tessera::nn {

// How a detector is judged, and what its parts weigh in training.
struct DetectionRules {
  DetectionOptions found = {.least_score = 0.005, .most_overlap = 0.45, .averaged = 0.5};
  double score_weight = 1, box_weight = 2;
  // A place answers for an object whose centre is within this many cells of its own, along both
  // axes, and within the object; but half a cell at least.
  double radius = 1.5;
};

// Inputs: "x" f32 [channels, height, width]. Targets, padded to `most` objects (Field::count):
//   "boxes" f32 [most, 4]       centre, width and height as shares of x's sides
//   "kinds" s32 [most]          in [0, kinds)
//   "areas" f32 [most]          of the objects, in pixels of the picture as it was
//   "crowds" s32 [most]         1: many objects in one box
//   "ids" s32 [most]            0 for an annotation of id 0, which COCO never matches
//   "objects" s32 []            how many there are
//   "frame" f32 [6]             nn::Frame of x in its picture
// The network gives, for each of its places,
//   "boxes" f32 [batch, places, 4]       as above
//   "scores" f32 [batch, places, kinds]  in [0, 1]
//   "priors" f32 [batch, places, 6]      its centre and the size it stands for, then the size of
//                                        its cell, as shares
// Every object is the matter of the places around its centre that stand for the most similar size;
// of several objects of a place the smallest counts. The loss of a sample is the sum of the scores'
// quality focal loss (the target of the object's kind is the overlap of the place's box with it)
// and of 1 - GIoU of the boxes, over the number of places with an object; that of a batch is the
// sum over the number in all of it, so that every object weighs alike. Places in crowds are left
// out. Metrics: BoxMetrics in percent, "AP" first, and "loss".
class Detection final : public Task {
 public:
  // Throws Error unless kinds and most are at least 1, and `picture` is [channels, height, width].
  Detection(Shape picture, std::int64_t kinds, std::int64_t most, DetectionRules rules = {});

  std::int64_t kinds() const { return kinds_; }
  std::int64_t most() const { return most_; }
  const DetectionRules& rules() const { return rules_; }
  std::string name() const override { return "detection"; }
  std::vector<Field> inputs() const override;
  std::vector<Field> targets() const override;
  void require_outputs(const Values& outputs) const override;
  Value loss(const FieldInputs& fields, const Values& outputs,
             double label_smoothing) const override;
  // "scores" and "boxes".
  std::vector<NamedLoss> losses(const FieldInputs& fields, const Values& outputs,
                                double label_smoothing) const override;
  std::unique_ptr<Meter> meter() const override;
  // The network's boxes and scores, and "loss" f32 [batch].
  Values measured(const FieldInputs& fields, const Values& outputs) const override;
  // [batch, places, kinds + 5]: scores, box times weight, weight. The weight of a target is 1 where
  // there is an object, of a prediction its best score: a mean of several is a mean box.
  Value target(const FieldInputs& fields, const Values& outputs,
               double label_smoothing) const override;
  Value prediction(const Values& outputs) const override;
  Value loss_to(const FieldInputs& fields, const Values& outputs, Value target) const override;
  // Each box that the network finds is there with the probability of its score.
  void draw_targets(const TensorMap& outputs, std::uint64_t seed, std::int64_t first,
                    TensorMap& fields, const std::string& where) const override;

 private:
  struct Parts {
    Value scores, boxes, places;  // [batch]: times their weights, and places with an object
  };
  Parts parts(const Values& outputs, Value target) const;

  Shape picture_;
  std::int64_t kinds_, most_;
  DetectionRules rules_;
};

}  // namespace tessera::nn
