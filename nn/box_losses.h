// Boxes in the graph: overlaps, encodings and the losses that detectors are trained by. Boxes are
// f32 [..., 4]: centre x and y, width and height, in any unit that is the same for all.
#pragma once

#include "core/graph.h"

namespace tessera::nn {

// Intersection over union of boxes and their partners, f32 [..., 1]; 0 where both are empty.
Value box_iou(Value a, Value b);
// IoU minus the share of the smallest box around both that neither covers, in [-1, 1]: has a
// gradient where they do not meet (Rezatofighi et al., CVPR 2019).
Value box_giou(Value a, Value b);

// Offsets of boxes from priors [..., 6] (the box that a place stands for, then width and height of
// its cell): centres in cells, sizes as logarithms of shares. decode_boxes() is the inverse; sizes
// are kept within e^+-6 of the prior's.
Value encode_boxes(Value boxes, Value priors);
Value decode_boxes(Value offsets, Value priors);

// Of probabilities p and targets y in [0, 1], elementwise: -(y log p + (1 - y) log(1 - p)). What is
// nearer than 1e-7 to 0 or 1 counts as that far away.
Value binary_cross_entropy(Value p, Value y);
// |y - p|^gamma times it: what is right already weighs little (Lin et al., ICCV 2017; with y
// between 0 and 1 Li et al.'s quality focal loss, NeurIPS 2020).
Value focal_loss(Value p, Value y, double gamma = 2);
// d^2 / (2 beta) for |d| < beta, else |d| - beta / 2, of d = a - b; beta 0: |d| (Girshick, ICCV
// 2015).
Value smooth_l1(Value a, Value b, double beta = 1);

}  // namespace tessera::nn
