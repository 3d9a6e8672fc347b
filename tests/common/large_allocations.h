// Counts what a test program takes from the heap by operator new in blocks as large as tensors. For programs of their own:
// large_allocations.cc replaces the operators of the whole program.
#pragma once

namespace tessera {

// Since the program began, by all threads, in blocks of 1 KiB and more.
int LargeAllocations();

}  // namespace tessera
