// Memories that a design and its bench share: the design reads and writes them through DPI, the bench
// (hwsim.cosim.shared_memory) sees the same bytes without a copy.
//
// A memory is an array of words of `bytes` bytes each, a multiple of 4; every access names the width.
// An access beyond the end reads zeros or writes nothing, and ends the simulation as a failure after this
// time step, so that the waves have it.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "svdpi.h"
#include "verilated.h"

namespace {

constexpr int kMemories = 16;

struct Memory {
  uint8_t* bytes;
  uint64_t size;
};

Memory memories[kMemories];

// Null beyond the end.
uint8_t* locate(const char* what, int number, int address, int bytes) {
  const bool known = number >= 0 && number < kMemories;
  const uint64_t offset = uint64_t(uint32_t(address)) * uint32_t(bytes);
  if (known && address >= 0 && offset + uint32_t(bytes) <= memories[number].size)
    return memories[number].bytes + offset;
  std::fprintf(stderr, "dpi_mem: %s of word %d (%d bytes) outside memory %d (%llu bytes)\n", what,
               address, bytes, number,
               known ? (unsigned long long)memories[number].size : 0ULL);
  Verilated::threadContextp()->errorCountInc();
  Verilated::threadContextp()->gotFinish(true);
  return nullptr;
}

}  // namespace

extern "C" {

// Address of memory `number`; the first call allocates and clears it.
void* dpi_mem_open(int number, uint64_t size) {
  if (number < 0 || number >= kMemories) return nullptr;
  Memory& memory = memories[number];
  if (!memory.bytes) memory = {static_cast<uint8_t*>(std::calloc(size, 1)), size};
  return memory.size == size ? memory.bytes : nullptr;
}

void dpi_mem_read(int number, int address, int bytes, svBitVecVal* data) {
  const uint8_t* word = locate("read", number, address, bytes);
  if (word) std::memcpy(data, word, size_t(bytes));
  else std::memset(data, 0, size_t(bytes));
}

// Writes the lanes, of `lane_bytes` bytes, whose bit in `lanes` is set.
void dpi_mem_write(int number, int address, int bytes, int lane_bytes, const svBitVecVal* lanes,
                   const svBitVecVal* data) {
  uint8_t* word = locate("write", number, address, bytes);
  if (!word) return;
  const uint8_t* source = reinterpret_cast<const uint8_t*>(data);
  for (int lane = 0; lane * lane_bytes < bytes; ++lane)
    if (lanes[lane / 32] >> (lane % 32) & 1)
      std::memcpy(word + lane * lane_bytes, source + lane * lane_bytes, size_t(lane_bytes));
}

}  // extern "C"
