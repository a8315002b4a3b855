// void code(rows, cols, inputs, outputs), System V:
//
//   call section: scalars and what depends on them alone -> slots on the stack
//   for each row:
//     row section: columns and what depends on them
//     for each 1 to 4 whole vectors, then for the rest of the row under a mask:
//       element section: loads, operations, stores
//
// Values of outer sections and constants are the same in all lanes: as many as fit stay in
// registers of their own ("resident"), the others are broadcast from memory where they are read.
#if defined(__x86_64__)

#include "ops/elementwise/jit/generate.h"

#include <xbyak/xbyak.h>

#include <algorithm>
#include <numeric>

#include "core/error.h"
#include "ops/elementwise/jit/schedule.h"

namespace tessera::jit {

namespace {

constexpr int kVectors = 31, kMasks = 6;  // beside a scratch vector, k0 and the mask of the rest
constexpr int kVectorBytes = 64, kLaneShift = 4, kFloatBytes = 4;
constexpr int kUnrolledSteps = 48;
constexpr std::size_t kCodeBytes = 4096;
static_assert(sizeof(ProgramInput) == 16 && offsetof(ProgramInput, ld) == 8);
static_assert(sizeof(ProgramOutput) == 16 && offsetof(ProgramOutput, ld) == 8);

struct Sections {
  Section call, row, element;
  explicit Sections(const Tape& tape)
      : call(schedule(tape, Level::call)),
        row(schedule(tape, Level::row)),
        element(schedule(tape, Level::element)) {}
  int vectors() const { return std::max({call.vectors, row.vectors, element.vectors}); }
  int masks() const { return std::max({call.masks, row.masks, element.masks}); }
};

class Generator : public Kernel, private Xbyak::CodeGenerator {
 public:
  Generator(const Tape& tape, const Sections& sections, std::span<const OperandKind> kinds)
      : Xbyak::CodeGenerator(kCodeBytes, Xbyak::AutoGrow),
        tape_(&tape),
        sections_(&sections),
        kinds_(kinds) {
    place_values();
    place_pointers();
    function();
    readyRE();
    code_ = getCode<Code>();
    tape_ = nullptr;  // used above only
    sections_ = nullptr;
    kinds_ = {};
  }

 private:
  using Z = const Xbyak::Zmm&;
  using O = const Xbyak::Operand&;

  // A row of an operand or result: where it starts, in a register or on the stack.
  struct Pointer {
    int reg = -1;
    int slot = 0;     // bytes from rsp
    int offset = -1;  // of the operand's entry; -1: it is not read
    bool output = false;
    bool advances = false;  // from row to row
  };

  const TapeLine& line(int i) const { return tape_->lines()[static_cast<std::size_t>(i)]; }
  static std::size_t at(int i) { return static_cast<std::size_t>(i); }

  // Gives values of outer levels their slots, and the most read of them registers.
  void place_values() {
    const auto& lines = tape_->lines();
    const std::size_t n = lines.size();
    resident_.assign(n, -1);
    slot_.assign(n, -1);
    constant_.assign(n, -1);
    std::vector<int> uses(n);
    std::vector<int> outer;
    for (const Step& step : sections_->element.steps) {
      if (step.output >= 0) {
        ++uses[at(step.line)];
        continue;
      }
      const TapeLine& l = line(step.line);
      for (int a = 0; a < 3; ++a) {
        const bool free_zero = l.op == TapeOp::select && a == 2 && tape_->is_constant(l.args[2], 0);
        if (l.args[a] >= 0 && !free_zero) ++uses[at(l.args[a])];
      }
    }
    for (std::size_t i = 0; i < n; ++i) {
      if (!lines[i].used || lines[i].level == Level::element || lines[i].is_mask()) continue;
      if (lines[i].op == TapeOp::constant) {
        constant_[i] = static_cast<int>(constants_.size());
        constants_.push_back(lines[i].detail);
      } else {
        slot_[i] = frame_;
        frame_ += kFloatBytes;
      }
      if (uses[i] > 0) outer.push_back(static_cast<int>(i));
    }
    std::stable_sort(outer.begin(), outer.end(),
                     [&](int a, int b) { return uses[at(a)] > uses[at(b)]; });
    int next = sections_->vectors();
    for (const int i : outer) {
      if (next < kVectors) resident_[at(i)] = next++;
    }
    frame_ = (frame_ + 7) / 8 * 8;
  }

  void place_pointers() {
    const int pool[] = {rbx.getIdx(), r8.getIdx(),  r9.getIdx(),  r10.getIdx(), r11.getIdx(),
                        r12.getIdx(), r13.getIdx(), r14.getIdx(), r15.getIdx()};
    std::size_t taken = 0;
    const auto place = [&](Pointer p, bool hot) {
      if (hot && taken < std::size(pool)) {
        p.reg = pool[taken++];
      } else {
        p.slot = frame_;
        frame_ += 8;
      }
      return p;
    };
    inputs_.resize(kinds_.size());
    for (const TapeLine& l : tape_->lines()) {
      if (!l.used || l.op != TapeOp::input) continue;
      const std::size_t i = l.detail;
      const int entry = static_cast<int>(i * sizeof(ProgramInput));
      const bool hot = kinds_[i] == OperandKind::full || kinds_[i] == OperandKind::row;
      const bool advances = kinds_[i] == OperandKind::full || kinds_[i] == OperandKind::column;
      inputs_[i] = place({-1, 0, entry, false, advances}, hot);
    }
    for (std::size_t o = 0; o < tape_->outputs().size(); ++o) {
      outputs_.push_back(
          place({-1, 0, static_cast<int>(o * sizeof(ProgramOutput)), true, true}, true));
    }
  }

  void function() {
    const Xbyak::Reg64 saved[] = {rbx, rbp, r12, r13, r14, r15};
    for (const auto& r : saved) push(r);
    sub(rsp, frame_);
    mov(eax, esi);  // cols: the mask of the rest and the bytes of whole vectors
    mov(r8, rcx);
    mov(ecx, eax);
    and_(ecx, (1 << kLaneShift) - 1);
    mov(eax, 1);
    shl(eax, cl);
    dec(eax);
    kmovw(k7, eax);
    mov(rcx, r8);
    shr(rsi, kLaneShift);
    shl(rsi, kLaneShift + 2);

    for (const auto* pointers : {&inputs_, &outputs_}) {
      for (const Pointer& p : *pointers) {
        if (p.offset < 0) continue;
        const Xbyak::Reg64 r = p.reg >= 0 ? Xbyak::Reg64(p.reg) : rbp;
        mov(r, ptr[(p.output ? rcx : rdx) + p.offset]);
        if (p.reg < 0) mov(ptr[rsp + p.slot], r);
      }
    }
    outer_section(sections_->call, Level::call);
    for (std::size_t i = 0; i < resident_.size(); ++i) {
      if (resident_[i] >= 0 && constant_[i] >= 0)
        vbroadcastss(Xbyak::Zmm(resident_[i]), constant_address(static_cast<int>(i)));
    }
    Xbyak::Label row;
    L(row);
    outer_section(sections_->row, Level::row);
    elements();
    for (const auto* pointers : {&inputs_, &outputs_}) {
      for (const Pointer& p : *pointers) advance(p);
    }
    dec(rdi);
    jnz(row, T_NEAR);

    vzeroupper();
    add(rsp, frame_);
    for (std::size_t i = std::size(saved); i-- > 0;) pop(saved[i]);
    ret();
    align(kFloatBytes);
    L(constants_label_);
    for (const std::uint32_t bits : constants_) dd(bits);
  }

  void advance(const Pointer& p) {
    if (!p.advances) return;
    mov(rbp, ptr[(p.output ? rcx : rdx) + p.offset + 8]);
    if (p.reg >= 0) {
      const Xbyak::Reg64 r(p.reg);
      lea(r, ptr[r + rbp * kFloatBytes]);
    } else {
      shl(rbp, 2);
      add(ptr[rsp + p.slot], rbp);
    }
  }

  // rax counts bytes along the row.
  void elements() {
    const int steps = std::max(1, static_cast<int>(sections_->element.steps.size()));
    const int unroll = std::clamp(kUnrolledSteps / steps, 1, 4);
    xor_(eax, eax);
    for (const int vectors : unroll > 1 ? std::vector{unroll, 1} : std::vector{1}) {
      Xbyak::Label loop, done;
      lea(rbp, ptr[rax + vectors * kVectorBytes]);
      cmp(rbp, rsi);
      jg(done, T_NEAR);
      L(loop);
      for (int v = 0; v < vectors; ++v) element_section(v * kVectorBytes, false);
      add(rax, vectors * kVectorBytes);
      lea(rbp, ptr[rax + vectors * kVectorBytes]);
      cmp(rbp, rsi);
      jle(loop, T_NEAR);
      L(done);
    }
    Xbyak::Label whole;
    kortestw(k7, k7);
    jz(whole, T_NEAR);
    element_section(0, true);
    L(whole);
  }

  void outer_section(const Section& section, Level level) {
    section_ = &section;
    level_ = level;
    for (const Step& step : section.steps) {
      const TapeLine& l = line(step.line);
      if (l.op == TapeOp::input) {
        const Pointer& p = inputs_[l.detail];
        mov(rbp, ptr[rsp + p.slot]);
        vbroadcastss(result(step.line), ptr[rbp]);
      } else {
        operation(step.line);
      }
      if (l.is_mask()) continue;
      const Xbyak::Zmm value = result(step.line);
      vmovss(ptr[rsp + slot_[at(step.line)]], Xbyak::Xmm(value.getIdx()));
      if (const int r = resident_[at(step.line)]; r >= 0) vmovaps(Xbyak::Zmm(r), value);
    }
  }

  void element_section(int offset, bool masked) {
    section_ = &sections_->element;
    level_ = Level::element;
    for (const Step& step : section_->steps) {
      const TapeLine& l = line(step.line);
      if (step.output >= 0) {
        const Xbyak::Address to = address(outputs_[at(step.output)], offset);
        const Xbyak::Zmm value = in_register(step.line, kScratch);
        vmovups(masked ? to | k7 : to, value);
      } else if (l.op == TapeOp::input) {
        const Xbyak::Zmm to = result(step.line);
        vmovups(masked ? to | k7 | T_z : to, address(inputs_[l.detail], offset));
      } else {
        operation(step.line);
      }
    }
  }

  Xbyak::Address address(const Pointer& p, int offset) {
    if (p.reg >= 0) return ptr[Xbyak::Reg64(p.reg) + rax + offset];
    mov(rbp, ptr[rsp + p.slot]);
    return ptr[rbp + rax + offset];
  }
  Xbyak::Address constant_address(int i) {
    return ptr[rip + constants_label_ + constant_[at(i)] * kFloatBytes];
  }
  Xbyak::Address outer_address(int i) {
    return constant_[at(i)] >= 0 ? constant_address(i) : ptr[rsp + slot_[at(i)]];
  }
  Xbyak::Address broadcast(int i) {
    return constant_[at(i)] >= 0 ? ptr_b[rip + constants_label_ + constant_[at(i)] * kFloatBytes]
                                 : ptr_b[rsp + slot_[at(i)]];
  }

  // The register of a value, if it has one here; -1: it is in memory.
  int register_of(int i) const {
    if (section_->reg[at(i)] >= 0) return section_->reg[at(i)];
    return level_ == Level::element ? resident_[at(i)] : -1;
  }
  Xbyak::Zmm result(int i) const { return Xbyak::Zmm(section_->reg[at(i)]); }
  Xbyak::Opmask mask(int i) const { return Xbyak::Opmask(section_->reg[at(i)] + 1); }
  Xbyak::Zmm in_register(int i, const Xbyak::Zmm& scratch) {
    if (const int r = register_of(i); r >= 0) return Xbyak::Zmm(r);
    vbroadcastss(scratch, outer_address(i));
    return scratch;
  }
  // fn(operand): a register, or a broadcast from memory.
  template <class Fn>
  void with_operand(int i, Fn&& fn) {
    if (const int r = register_of(i); r >= 0) {
      fn(Xbyak::Zmm(r));
    } else {
      fn(broadcast(i));
    }
  }

  void operation(int i) {
    const TapeLine& l = line(i);
    const auto a = l.args[0], b = l.args[1], c = l.args[2];
    const auto binary = [&](int x, int y, auto emit) {
      const Xbyak::Zmm left = in_register(x, kScratch);
      with_operand(y, [&](O right) { emit(result(i), left, right); });
    };
    const auto symmetric = [&](auto emit) {
      register_of(a) < 0 ? binary(b, a, emit) : binary(a, b, emit);
    };
    const auto unary = [&](auto emit) { with_operand(a, [&](O x) { emit(result(i), x); }); };
    switch (l.op) {
      case TapeOp::add:
        return symmetric([&](Z d, Z x, O y) { vaddps(d, x, y); });
      case TapeOp::sub:
        return binary(a, b, [&](Z d, Z x, O y) { vsubps(d, x, y); });
      case TapeOp::mul:
        return symmetric([&](Z d, Z x, O y) { vmulps(d, x, y); });
      case TapeOp::div:
        return binary(a, b, [&](Z d, Z x, O y) { vdivps(d, x, y); });
      case TapeOp::max:
        return binary(a, b, [&](Z d, Z x, O y) { vmaxps(d, x, y); });
      case TapeOp::min:
        return binary(a, b, [&](Z d, Z x, O y) { vminps(d, x, y); });
      case TapeOp::negate:
        return symmetric([&](Z d, Z x, O y) { vxorps(d, x, y); });
      case TapeOp::and_bits:
        return symmetric([&](Z d, Z x, O y) { vandps(d, x, y); });
      case TapeOp::or_bits:
        return symmetric([&](Z d, Z x, O y) { vorps(d, x, y); });
      case TapeOp::add_bits:
        return symmetric([&](Z d, Z x, O y) { vpaddd(d, x, y); });
      case TapeOp::sub_bits:
        return binary(a, b, [&](Z d, Z x, O y) { vpsubd(d, x, y); });
      case TapeOp::scale:
        return binary(a, b, [&](Z d, Z x, O y) { vscalefps(d, x, y); });
      case TapeOp::compare:
        return binary(
            a, b, [&](Z, Z x, O y) { vcmpps(mask(i), x, y, static_cast<std::uint8_t>(l.detail)); });
      case TapeOp::sqrt:
        return unary([&](Z d, O x) { vsqrtps(d, x); });
      case TapeOp::round:
        return unary([&](Z d, O x) { vrndscaleps(d, x, static_cast<std::uint8_t>(l.detail)); });
      case TapeOp::to_float:
        return unary([&](Z d, O x) { vcvtdq2ps(d, x); });
      case TapeOp::shift_left:
        return vpslld(result(i), in_register(a, kScratch), static_cast<std::uint8_t>(l.detail));
      case TapeOp::shift_right:
        return vpsrad(result(i), in_register(a, kScratch), static_cast<std::uint8_t>(l.detail));
      case TapeOp::select:
        return select(i, a, b, c);
      case TapeOp::multiply_add:
      case TapeOp::multiply_subtract:
      case TapeOp::subtract_multiplied:
        return product(i, a, b, c);
      case TapeOp::constant:
      case TapeOp::input:
        break;
    }
    TESSERA_ASSERT(false);
  }

  void select(int i, int m, int yes, int no) {
    if (tape_->is_constant(no, 0)) {
      const Xbyak::Zmm to = result(i) | mask(m) | T_z;
      if (const int r = register_of(yes); r >= 0) {
        vmovaps(to, Xbyak::Zmm(r));
      } else {
        vbroadcastss(to, outer_address(yes));
      }
      return;
    }
    const Xbyak::Zmm other = in_register(no, kScratch);
    with_operand(yes, [&](O value) { vblendmps(result(i) | mask(m), other, value); });
  }

  // The instruction writes over one of its operands: the sum's, a factor or a copy of the sum's.
  void product(int i, int a, int b, int c) {
    const TapeOp op = line(i).op;
    const Xbyak::Zmm d = result(i);
    const auto form = [&](auto add, auto subtract, auto negated, const auto& x, const auto& y) {
      const auto f = op == TapeOp::multiply_add        ? add
                     : op == TapeOp::multiply_subtract ? subtract
                                                       : negated;
      (this->*f)(d, x, y);
    };
    using G = Xbyak::CodeGenerator;
    const auto f213 = [&](Z x, O y) {
      form(&G::vfmadd213ps, &G::vfmsub213ps, &G::vfnmadd213ps, x, y);
    };
    const auto f231 = [&](Z x, O y) {
      form(&G::vfmadd231ps, &G::vfmsub231ps, &G::vfnmadd231ps, x, y);
    };
    if (register_of(a) < 0) std::swap(a, b);
    const int own = d.getIdx();
    if (register_of(c) != own && (register_of(a) == own || register_of(b) == own)) {
      const int factor = register_of(a) == own ? b : a;
      const Xbyak::Zmm x = in_register(factor, kScratch);
      return with_operand(c, [&](O y) { f213(x, y); });
    }
    if (const int r = register_of(c); r < 0) {
      vbroadcastss(d, outer_address(c));
    } else if (r != own) {
      vmovaps(d, Xbyak::Zmm(r));
    }
    const Xbyak::Zmm x = in_register(a, kScratch);
    with_operand(b, [&](O y) { f231(x, y); });
  }

  static inline const Xbyak::Zmm kScratch{31};

  const Tape* tape_;
  const Sections* sections_;
  std::span<const OperandKind> kinds_;
  const Section* section_ = nullptr;  // being generated
  Level level_ = Level::call;
  std::vector<int> resident_, slot_, constant_;  // by line
  std::vector<std::uint32_t> constants_;
  Xbyak::Label constants_label_;
  std::vector<Pointer> inputs_, outputs_;
  int frame_ = 0;
};

}  // namespace

std::shared_ptr<const Kernel> generate(const Tape& tape, std::span<const OperandKind> kinds) {
  const Sections sections(tape);
  if (sections.vectors() > kVectors || sections.masks() > kMasks) return nullptr;
  try {
    return std::make_shared<const Generator>(tape, sections, kinds);
  } catch (const Xbyak::Error& error) {
    const int code = error;
    TESSERA_ASSERT(code == Xbyak::ERR_CANT_PROTECT || code == Xbyak::ERR_CANT_ALLOC);
    return nullptr;
  }
}

}  // namespace tessera::jit

#endif
