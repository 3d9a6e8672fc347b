// Settings of the libraries and of the kernel below us, so that gRPC and big buffers run at the machine's
// speed; docs/performance.md has what each one brings.
#pragma once

namespace tessera {

// For the whole process, before its first thread; idempotent:
//
// Malloc keeps what is freed. By default a freed block of a few hundred KiB, as gRPC reads messages into,
// goes back to the kernel at once, and the next one is paid for page by page. What stays resident is what was
// in use at most.
//
// Abseil's mutexes, which are gRPC's, do not look for deadlocks. Debian builds Abseil with its debug checks,
// where every lock taken goes through one graph of all locks held, under one lock of its own.
void TuneProcess();

// For the calling thread, which handles messages beside threads that compute: the kernel's slices for it are
// the shortest there are. A thread that wakes then runs at once, also where every core computes; else it
// waits for the end of a slice, some milliseconds, and whoever waits for its messages does too. It gets no
// larger share of the processor. Linux 6.12 and later; no effect on others.
void AnswerPromptly();

}  // namespace tessera
