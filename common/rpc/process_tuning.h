// What a process does once, at its start, so that gRPC and big buffers run at the machine's speed.
#pragma once

namespace tessera {

// Two settings of the libraries below us, for the whole process; docs/performance.md has what each one
// brings.
// - malloc keeps what is freed. By default a freed block of a few hundred KiB, as gRPC reads messages into,
// goes back to
//   the kernel at once, and the next one is paid for page by page. What stays resident is what was in use at
//   most.
// - Abseil's mutexes, which are gRPC's, do not look for deadlocks. Debian builds Abseil with its debug
// checks, where every
//   lock taken goes through one graph of all locks held, under one lock of its own.
// Before the first thread; idempotent.
void TuneProcess();

}  // namespace tessera
