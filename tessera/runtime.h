// Running saved models, and nothing else: load(), compile(), Plan::run(). For programs that link
// tessera::runtime alone; the same calls with the same results are in tessera/tessera.h.
#pragma once

#include "core/compile.h"
#include "core/dtype.h"
#include "core/error.h"
#include "core/memory_rule.h"
#include "core/model.h"
#include "core/parallel.h"
#include "core/shape.h"
#include "core/tensor.h"
#include "core/version.h"
#include "ops/load.h"
