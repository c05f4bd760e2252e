// Drives tb_fp, every number unit at every latency, and compares with the host's own arithmetic.
//
//   sample COUNT SEED FILE   corner values crossed, then COUNT random vectors of every class; the
//                            first 100,000 random ones go to FILE, so that NumPy can judge them too
//   mul16 SHARD SHARDS       all pairs of binary16 numbers, the SHARD-th part of SHARDS
//   round16 SHARD SHARDS     all binary32 numbers rounded to binary16, likewise
//
// The last two are for a model with Exhaustive = 1, which holds those two units alone.
//
// The host rounds to nearest even; NaN is compared in its canonical form (docs/numerics.md).

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "Vtop.h"
#include "verilated.h"

namespace {

// ---- The host's numbers ------------------------------------------------------------------------

constexpr uint32_t kNan32 = 0x7fc00000;
constexpr uint16_t kNan16 = 0x7e00;

float number32(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

uint32_t bits32(float value) {
  if (std::isnan(value)) return kNan32;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

float number16(uint16_t bits) {
  const int exponent = bits >> 10 & 31;
  const int fraction = bits & 1023;
  if (exponent == 31 && fraction) return NAN;
  const float magnitude = exponent == 31 ? INFINITY
                          : exponent     ? std::ldexp(1024.0f + fraction, exponent - 25)
                                         : std::ldexp(float(fraction), -24);
  return bits >> 15 ? -magnitude : magnitude;
}

std::vector<float> all_numbers16() {
  std::vector<float> numbers;
  for (uint32_t bits = 0; bits < 65536; ++bits) numbers.push_back(number16(uint16_t(bits)));
  return numbers;
}

// Rounds by counting units in the last place; the host's nearbyint does the rounding.
uint16_t bits16(float value) {
  if (std::isnan(value)) return kNan16;
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const double magnitude = std::fabs(double(value));
  if (magnitude >= 65520.0) return sign | 0x7c00;
  int exponent = -14;
  if (magnitude >= std::ldexp(1.0, -14)) exponent = std::ilogb(magnitude);
  const int units = int(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  // A binade has 1024 units; 2048 units carry into the next one by themselves.
  return uint16_t(sign | (((exponent + 14) << 10) + units));
}

// ---- Vectors -----------------------------------------------------------------------------------

struct Vector {
  uint32_t a32, b32, round;
  uint16_t a16, b16;
};

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {  // splitmix64
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  uint32_t word() { return uint32_t(next() >> 32); }
  int below(int limit) { return int(next() % uint64_t(limit)); }
  int between(int low, int high) { return low + below(high - low + 1); }

 private:
  uint64_t state_;
};

uint32_t with_exponent(uint32_t bits, int exponent) {
  const int clamped = exponent < 0 ? 0 : exponent > 255 ? 255 : exponent;
  return (bits & 0x807fffff) | uint32_t(clamped) << 23;
}

uint16_t with_exponent16(uint16_t bits, int exponent) {
  return uint16_t((bits & 0x83ff) | exponent << 10);
}

int exponent_of(uint32_t bits) { return int(bits >> 23 & 255); }

// A fraction with its lowest bits clear, or set: sums and products then end in ties or next to them.
uint32_t round_fraction(Random& random, uint32_t bits) {
  const uint32_t low = (1u << random.between(1, 23)) - 1;
  return random.below(2) ? bits & ~low : bits | low;
}

Vector random_vector(Random& random) {
  Vector v{random.word(), random.word(), random.word(), uint16_t(random.word()),
           uint16_t(random.word())};
  switch (random.below(8)) {
    case 0:  // all bit patterns
      break;
    case 1:  // cancellation: the same number but for its last places, or its exponent
      v.b32 = (v.a32 ^ 0x80000000) + uint32_t(random.between(-4, 4));
      if (random.below(2)) v.b32 = with_exponent(v.b32, exponent_of(v.a32) + random.between(-1, 1));
      break;
    case 2:  // every distance of the exponents that matters, both signs
      v.b32 = with_exponent(v.b32, exponent_of(v.a32) + random.between(-28, 28));
      break;
    case 3:  // subnormal range of operands
      v.a32 = with_exponent(v.a32, random.between(0, 2));
      v.b32 = with_exponent(v.b32, random.between(0, 26));
      v.a16 = with_exponent16(v.a16, 0) >> random.below(2);
      break;
    case 4:  // subnormal range of products
      v.b32 = with_exponent(v.b32, 127 - exponent_of(v.a32) + random.between(-26, 2));
      break;
    case 5:  // ties of sums
      v.a32 = round_fraction(random, v.a32);
      v.b32 = round_fraction(random, with_exponent(v.b32, exponent_of(v.a32) + random.between(-25, 25)));
      break;
    case 6:  // ties of products: factors of at most 12 and 13 bits
      v.a32 &= 0xfffff000;
      v.b32 &= 0xfffff000 >> random.below(2);
      if (random.below(2)) v.b32 = with_exponent(v.b32, 127 - exponent_of(v.a32) + random.between(-24, 3));
      break;
    default:  // edge of overflow
      v.a32 = with_exponent(v.a32, random.between(250, 254));
      v.b32 = random.below(2) ? with_exponent(v.b32, random.between(228, 254))
                              : with_exponent(v.b32, 381 - exponent_of(v.a32) + random.between(-2, 2));
      if (random.below(2)) v.a32 |= 0x7fffff;
      break;
  }
  if (random.below(8)) {  // the range of binary16 and its ties
    v.round = with_exponent(v.round, random.between(99, 144));
    if (random.below(2)) v.round = round_fraction(random, v.round);
  }
  return v;
}

std::vector<Vector> corner_vectors() {
  std::vector<uint32_t> corners32 = {
      0x00000000, 0x00000001, 0x00000002, 0x00400000, 0x007ffffe, 0x007fffff, 0x00800000, 0x00800001,
      0x00ffffff, 0x01000000, 0x01000001, 0x0b800000, 0x0c000000, 0x1f800000, 0x20000000, 0x33000000,
      0x33800000, 0x33800001, 0x34000000, 0x34000001, 0x337fffff, 0x387fc000, 0x387fe000, 0x38800000,
      0x3effffff, 0x3f000000, 0x3f7fffff, 0x3f800000, 0x3f800001, 0x3fc00000, 0x3fffffff, 0x40000000,
      0x477fe000, 0x477fefff, 0x477ff000, 0x47800000, 0x4b000000, 0x4b7fffff, 0x4b800000, 0x4b800001,
      0x4c000000, 0x5f000000, 0x5f7fffff, 0x72ffffff, 0x73000000, 0x7e7fffff, 0x7e800000, 0x7f000000,
      0x7f000001, 0x7f7ffffe, 0x7f7fffff, 0x7f800000, 0x7f800001, 0x7fbfffff, 0x7fc00000, 0x7fffffff};
  std::vector<uint16_t> corners16 = {0x0000, 0x0001, 0x0002, 0x0003, 0x0100, 0x01ff, 0x0200, 0x03fe,
                                     0x03ff, 0x0400, 0x0401, 0x07ff, 0x0800, 0x3bff, 0x3c00, 0x3c01,
                                     0x4000, 0x5555, 0x6aaa, 0x7800, 0x7bfe, 0x7bff, 0x7c00, 0x7c01,
                                     0x7dff, 0x7e00, 0x7fff};
  for (size_t i = corners32.size(); i-- > 0;) corners32.push_back(corners32[i] | 0x80000000);
  for (size_t i = corners16.size(); i-- > 0;) corners16.push_back(corners16[i] | 0x8000);
  std::vector<Vector> vectors;
  for (uint32_t a : corners32)
    for (uint32_t b : corners32) vectors.push_back({a, b, a, 0, 0});
  size_t i = 0;
  for (uint16_t a : corners16)
    for (uint16_t b : corners16) {
      vectors[i % vectors.size()].a16 = a;
      vectors[i++ % vectors.size()].b16 = b;
    }
  for (uint32_t widen = 0; widen < 65536; ++widen)
    vectors.push_back({widen << 16, widen << 13, widen << 13 | 0x30000000, uint16_t(widen), 0x3c00});
  return vectors;
}

// ---- The bench ---------------------------------------------------------------------------------

struct Expected {
  Vector vector;
  uint32_t add, mul32, mul16;
};

class Bench {
 public:
  void apply(const Vector& v) {
    top_.clk_i = 0;
    top_.a32_i = v.a32;
    top_.b32_i = v.b32;
    top_.a16_i = v.a16;
    top_.b16_i = v.b16;
    top_.round_i = v.round;
    top_.eval();
    check_casts(v);
    // The ring holds what the registers of each latency are about to show.
    history_[cycle_ & 3] = {v, bits32(number32(v.a32) + number32(v.b32)),
                            bits32(number32(v.a32) * number32(v.b32)),
                            bits32(number16(v.a16) * number16(v.b16))};
    top_.clk_i = 1;
    top_.eval();
    ++cycle_;
    for (int latency = 1; latency <= 4; ++latency)
      if (cycle_ >= uint64_t(latency)) check_pipelines(latency, history_[(cycle_ - latency) & 3]);
  }

  // One pair through fp16_mul at Latency 1.
  void multiply16(uint16_t a, uint16_t b) {
    top_.clk_i = 0;
    top_.a16_i = a;
    top_.b16_i = b;
    top_.eval();
    top_.clk_i = 1;
    top_.eval();
    ++cycle_;
    expect("fp16_mul", 1, a, b, bits32(widened_[a] * widened_[b]), top_.mul16_o[0]);
  }

  void round16(uint32_t bits) {
    top_.round_i = bits;
    top_.eval();
    ++cycle_;
    const uint16_t rounded = bits16(number32(bits));
    expect("fp32_to_fp16", 0, bits, 0, rounded, top_.rounded_o);
    expect("fp32_to_fp16.nonfinite", 0, bits, 0, (rounded & 0x7c00) == 0x7c00, top_.nonfinite_o);
  }

  void drain() {
    for (int i = 0; i < 4; ++i) apply({});
  }

  const Vtop& top() const { return top_; }
  uint64_t cycles() const { return cycle_; }
  uint64_t failures() const { return failures_; }

 private:
  void check_casts(const Vector& v) {
    const uint16_t rounded = bits16(number32(v.round));
    expect("fp16_to_fp32", 0, v.a16, 0, bits32(number16(v.a16)), top_.widened_o);
    expect("fp32_to_fp16", 0, v.round, 0, rounded, top_.rounded_o);
    expect("fp32_to_fp16.nonfinite", 0, v.round, 0, (rounded & 0x7c00) == 0x7c00, top_.nonfinite_o);
  }

  void check_pipelines(int latency, const Expected& e) {
    const Vector& v = e.vector;
    expect("fp32_add", latency, v.a32, v.b32, e.add, top_.add_o[latency - 1]);
    expect("fp32_mul", latency, v.a32, v.b32, e.mul32, top_.mul32_o[latency - 1]);
    expect("fp16_mul", latency, v.a16, v.b16, e.mul16, top_.mul16_o[latency - 1]);
  }

  void expect(const char* unit, int latency, uint32_t a, uint32_t b, uint32_t want, uint32_t got) {
    if (want == got) return;
    if (++failures_ <= 20)
      std::printf("FAIL %s Latency=%d a=%08x b=%08x expected %08x got %08x\n", unit, latency, a, b,
                  want, got);
  }

  Vtop top_;
  const std::vector<float> widened_ = all_numbers16();
  Expected history_[4] = {};
  uint64_t cycle_ = 0;
  uint64_t failures_ = 0;
};

constexpr uint64_t kSample = 100000;

// One vector and what the units of Latency = 1 made of it, as NumPy reads it.
struct Record {
  uint32_t a32, b32, round, a16, b16, add, mul32, mul16, widened, rounded;
};

void sample(Bench& bench, uint64_t count, uint64_t seed, const char* file) {
  for (const Vector& v : corner_vectors()) bench.apply(v);
  Random random(seed);
  std::FILE* out = std::fopen(file, "wb");
  if (!out) std::perror(file), std::exit(2);
  for (uint64_t i = 0; i < count; ++i) {
    const Vector v = random_vector(random);
    bench.apply(v);
    if (i >= kSample) continue;
    const Vtop& top = bench.top();
    const Record record{v.a32,         v.b32,          v.round,        v.a16,          v.b16,
                        top.add_o[0],  top.mul32_o[0], top.mul16_o[0], top.widened_o,  top.rounded_o};
    std::fwrite(&record, sizeof record, 1, out);
  }
  std::fclose(out);
}

// The part of all 2^32 operands that `index` of `shards` names, one a call.
template <typename Apply>
void shard(const char* index, const char* shards, Apply apply) {
  const uint64_t i = std::strtoull(index, nullptr, 0), n = std::strtoull(shards, nullptr, 0);
  const uint64_t all = uint64_t(1) << 32;
  for (uint64_t x = all * i / n; x < all * (i + 1) / n; ++x) apply(uint32_t(x));
}

}  // namespace

int main(int argc, char** argv) {
  // Options of the simulator come last and begin with a plus.
  Verilated::commandArgs(argc, argv);
  while (argc > 1 && argv[argc - 1][0] == '+') --argc;
  Bench bench;
  const bool whole = argc == 4, part = argc == 5;
  if (part && !std::strcmp(argv[1], "sample")) {
    sample(bench, std::strtoull(argv[2], nullptr, 0), std::strtoull(argv[3], nullptr, 0), argv[4]);
    bench.drain();
  } else if (whole && !std::strcmp(argv[1], "mul16")) {
    shard(argv[2], argv[3], [&](uint32_t x) { bench.multiply16(uint16_t(x >> 16), uint16_t(x)); });
  } else if (whole && !std::strcmp(argv[1], "round16")) {
    shard(argv[2], argv[3], [&](uint32_t x) { bench.round16(x); });
  } else {
    std::fprintf(stderr, "usage: %s sample COUNT SEED FILE | mul16 SHARD SHARDS | round16 SHARD SHARDS\n",
                 argv[0]);
    return 2;
  }
  std::printf("%llu vectors, %llu failures\n", (unsigned long long)bench.cycles(),
              (unsigned long long)bench.failures());
#if VM_COVERAGE
  VerilatedCov::write();
#endif
  return bench.failures() != 0;
}
