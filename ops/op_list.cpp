#include "ops/op_list.h"

#include "ops/codebook/codebook.h"
#include "ops/codebook/nearest.h"
#include "ops/codebook/soft_assign.h"
#include "ops/communication/communication.h"
#include "ops/conv/conv.h"
#include "ops/embedding/embedding.h"
#include "ops/matmul/matmul.h"
#include "ops/norm/norm.h"
#include "ops/pool/pool.h"
#include "ops/recurrent/lstm.h"
#include "ops/rules.h"
#include "ops/sparse/sparse.h"
#include "ops/upsample/upsample.h"
#include "ops/weighting/gramian_weights.h"

namespace tessera::ops {

namespace {

constexpr const OpDef* kOps[] = {
#define ELEMENTWISE(NAME, OP) &OP,
#include "ops/elementwise/table.inc"
    &kFused,
    &kCast,
    &kOneHot,
    &kSum,
    &kMax,
    &kCount,
    &kArgmax,
    &kBroadcastTo,
    &kSumTo,
    &kReshape,
    &kTranspose,
    &kSlice,
    &kConcat,
    &kPlace,
    &kMatmul,
    &kBatchedMatmul,
    &kConv2d,
    &kConv2dGradInput,
    &kConv2dGradWeight,
    &kMaxPool2d,
    &kMaxPool2dGrad,
    &kAvgPool2d,
    &kAvgPool2dGrad,
    &kUpsample2d,
    &kUpsample2dGrad,
    &kChannelStats,
    &kChannelProducts,
    &kBatchNormTrain,
    &kCodebook,
    &kDecode,
    &kRepack,
    &kCodebookEntriesGrad,
    &kCodebookScaleGrad,
    &kNearest,
    &kEmbedding,
    &kEmbeddingGrad,
    &kScatterRows,
    &kLstmScan,
    &kLstmScanGrad,
    &kSparse,
    &kSparseValuesGrad,
    &kSparseMatmul,
    &kSparseConv2d,
    &kSoftmax,
    &kLogSoftmax,
    &kCrossEntropy,
    &kCrossEntropyGrad,
    &kUniform,
#if !defined(TESSERA_RUNTIME)  // networks in training only
    &kSoftAssign,
    &kSoftAssignGrad,
    &kGramianWeights,
    &kAllReduce,
    &kAllReduceStart,
    &kAllReduceFinish,
    &kAllGather,
    &kJointMoments,
#endif
};

}  // namespace

OpSet& standard_ops() {
  static OpSet set = [] {
    OpSet out(kOps, {.add = &kAdd, .decode = &kDecode, .repack = &kRepack, .fused = &kFused});
    out.rules().add(elementwise_rules());
    out.rules().add(movement_rules());
    out.rules().add(reduce_rules());
    out.rules().add(sparse_rules());
    out.rules().add(codebook_rules());
    return out;
  }();
  return set;
}

}  // namespace tessera::ops
