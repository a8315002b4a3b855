// The LSTM's step kernels, portable.
#include "ops/vector/lanes_plain-inl.h"

#include "ops/recurrent/lstm_body-inl.h"

extern "C" const tessera::LstmKernels tessera::tessera_lstm_ref = {"ref", step, step_grad, gain,
                                                                   gain_grad};
