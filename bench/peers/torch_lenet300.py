#!/usr/bin/python3
"""PyTorch's training step of LeNet-300-100 (784-300-100-10): batch 256, f32, SGD with momentum 0.9.

Prints one JSON line: the median milliseconds of a step and how it was run. compare_lenet300.sh sets
the fastest environment. One step is zero gradients, forward, cross-entropy, backward and update, on
a batch that is already in memory.

  --mode eager    modules, autograd and torch.optim.SGD, as everybody writes it
         script   the same, the forward and the loss compiled by torch.jit.script
         trace    the same, by torch.jit.trace
         grad     autograd with a hand-written foreach update
         manual   no autograd: forward, backward and update written out with in-place ops and out=,
                  the momentum folded into the gradient's addmm
         manual-script  the same ops in one torch.jit.script function
         best     manual: on a 2-core Zen 5 it was the fastest for both activations
         all      one line for each of the above
"""
import argparse
import json
import statistics
import time

import torch
import torch.nn.functional as F

SIZES = [784, 300, 100, 10]
LEARNING_RATE, MOMENTUM = 0.01, 0.9
MODES = ["eager", "script", "trace", "grad", "manual", "manual-script"]


class Net(torch.nn.Module):
    def __init__(self, activation):
        super().__init__()
        act = {"tanh": torch.nn.Tanh, "relu": torch.nn.ReLU}[activation]
        layers = []
        for i, (n_in, n_out) in enumerate(zip(SIZES, SIZES[1:])):
            layers += [torch.nn.Linear(n_in, n_out)] + ([act()] if i + 2 < len(SIZES) else [])
        self.layers = torch.nn.Sequential(*layers)

    def forward(self, x, y):
        return F.cross_entropy(self.layers(x), y)


def autograd_step(mode, activation, x, y, foreach):
    net = Net(activation)
    loss_of = net
    if mode == "script":
        loss_of = torch.jit.script(net)
    elif mode == "trace":
        loss_of = torch.jit.trace(net, (x, y))
    params = list(net.parameters())
    if mode == "grad":
        moments = [torch.zeros_like(p) for p in params]

        def step():
            loss = loss_of(x, y)
            grads = torch.autograd.grad(loss, params)
            with torch.no_grad():
                torch._foreach_mul_(moments, MOMENTUM)
                torch._foreach_add_(moments, grads)
                torch._foreach_add_(params, moments, alpha=-LEARNING_RATE)
            return loss
        return step

    optimizer = torch.optim.SGD(params, lr=LEARNING_RATE, momentum=MOMENTUM, foreach=foreach)

    def step():
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of(x, y)
        loss.backward()
        optimizer.step()
        return loss
    return step


class Manual:
    """The step written out. Weights are kept [in, out], which this BLAS multiplies a little faster;
    activations work in place; each gradient is accumulated straight into its moment, 1 / batch
    being the alpha of that addmm."""

    def __init__(self, activation, x, y):
        linear = [layer for layer in Net(activation).layers if hasattr(layer, "weight")]
        self.w = [layer.weight.detach().t().contiguous() for layer in linear]
        self.b = [layer.bias.detach() for layer in linear]
        self.mw = [torch.zeros_like(w) for w in self.w]
        self.mb = [torch.zeros_like(b) for b in self.b]
        self.z = [torch.empty(len(x), n) for n in SIZES[1:]]
        self.d = [torch.empty(len(x), n) for n in SIZES[1:]]
        self.ones, self.minus = torch.ones(len(x)), -torch.ones(len(x), 1)
        self.activation, self.x, self.y, self.column = activation, x, y, y[:, None]

    def step(self):
        w, b, mw, mb, z, d = self.w, self.b, self.mw, self.mb, self.z, self.d
        tanh, last, a, scale = self.activation == "tanh", len(self.w) - 1, self.x, 1 / len(self.x)
        backward = (torch.ops.aten.tanh_backward if tanh else torch.ops.aten.threshold_backward)
        extra = () if tanh else (0,)
        for i in range(last + 1):
            torch.addmm(b[i], a, w[i], out=z[i])
            if i < last:
                z[i].tanh_() if tanh else z[i].relu_()
            a = z[i]
        logp = torch.log_softmax(z[last], 1)
        loss = F.nll_loss(logp, self.y)
        torch.exp(logp, out=d[last]).scatter_add_(1, self.column, self.minus)
        for i in range(last, -1, -1):
            below = z[i - 1] if i > 0 else self.x
            if i > 0:
                torch.mm(d[i], w[i].t(), out=d[i - 1])
                backward.grad_input(d[i - 1], below, *extra, grad_input=d[i - 1])
            torch.addmm(mw[i], below.t(), d[i], beta=MOMENTUM, alpha=scale, out=mw[i])
            torch.addmv(mb[i], d[i].t(), self.ones, beta=MOMENTUM, alpha=scale, out=mb[i])
        torch._foreach_add_(w + b, mw + mb, alpha=-LEARNING_RATE)
        return loss


def manual_script(activation, x, y):
    s = Manual(activation, x, y)
    s.w, s.mw = [w.t().contiguous() for w in s.w], [m.t().contiguous() for m in s.mw]

    def run(x, y, ones, w: list[torch.Tensor], b: list[torch.Tensor], mw: list[torch.Tensor],
            mb: list[torch.Tensor], tanh: bool, lr: float, momentum: float):
        a = x
        acts = [x]
        last = len(w) - 1
        for i in range(len(w)):
            a = torch.addmm(b[i], a, w[i].t())
            if i < last:
                a = a.tanh_() if tanh else a.relu_()
            acts.append(a)
        logp = torch.log_softmax(a, 1)
        loss = F.nll_loss(logp, y)
        d = torch.exp(logp)
        d = d.sub_(F.one_hot(y, d.size(1))).div_(d.size(0))
        for j in range(len(w)):
            i = last - j
            n = d
            if i > 0:
                n = torch.mm(d, w[i])
                if tanh:
                    n = torch.ops.aten.tanh_backward(n, acts[i])
                else:
                    n = torch.ops.aten.threshold_backward(n, acts[i], 0)
            mw[i].addmm_(d.t(), acts[i], beta=momentum)
            mb[i].addmv_(d.t(), ones, beta=momentum)
            w[i].add_(mw[i], alpha=-lr)
            b[i].add_(mb[i], alpha=-lr)
            d = n
        return loss

    run = torch.jit.script(run)
    return lambda: run(x, y, s.ones, s.w, s.b, s.mw, s.mb, activation == "tanh", LEARNING_RATE,
                       MOMENTUM)


def measure(mode, a):
    torch.manual_seed(1)
    x, y = torch.randn(a.batch, SIZES[0]), torch.randint(0, SIZES[-1], (a.batch,))
    if mode == "manual":
        step = Manual(a.activation, x, y).step
    elif mode == "manual-script":
        step = manual_script(a.activation, x, y)
    else:
        step = autograd_step(mode, a.activation, x, y, a.foreach)
    with torch.set_grad_enabled(not mode.startswith("manual")):
        losses = [float(step()) for _ in range(a.warmup)]
        times = []
        for _ in range(a.steps):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    ms = [1e3 * t for t in times]
    print(json.dumps({
        "peer": "pytorch", "version": torch.__version__, "net": "lenet300",
        "activation": a.activation, "mode": mode, "foreach": a.foreach, "batch": a.batch,
        "threads": torch.get_num_threads(), "steps": a.steps,
        "train_step_ms": round(statistics.median(ms), 4), "min_ms": round(min(ms), 4),
        "loss_first": round(losses[0], 4), "loss_after_warmup": round(losses[-1], 4)}), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--activation", choices=["tanh", "relu"], default="tanh")
    parser.add_argument("--mode", choices=MODES + ["best", "all"], default="best")
    parser.add_argument("--foreach", action="store_true", help="SGD(foreach=True)")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--warmup", type=int, default=50)
    parser.add_argument("--threads", type=int, default=2)
    a = parser.parse_args()
    torch.set_num_threads(a.threads)
    torch.set_flush_denormal(True)
    for mode in MODES if a.mode == "all" else ["manual" if a.mode == "best" else a.mode]:
        measure(mode, a)


if __name__ == "__main__":
    main()
