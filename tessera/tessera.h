// Everything a user of Tessera needs.
#pragma once

#include "core/dtype.h"
#include "core/encoding.h"
#include "core/error.h"
#include "core/rng.h"
#include "core/shape.h"
#include "core/tensor.h"
